# krasis_library(NAME <folder> DEPS <folders...> LIBS <targets...> SOURCES <files...>)
# One static library per src/ folder, called from that folder's CMakeLists.txt. DEPS is the whole
# truth about what the folder may include: tools/check_layers.py reads the same calls and a test
# fails when an #include goes around them. LIBS are third-party targets.
add_library(krasis_flags INTERFACE)
target_compile_options(krasis_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wconversion -Wnon-virtual-dtor>
  # Errors for the compilers that CI runs: newer ones warn of more, and nobody's build shall end for it.
  $<$<OR:$<AND:$<COMPILE_LANG_AND_ID:CXX,GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>,$<AND:$<COMPILE_LANG_AND_ID:CXX,Clang>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,15>>>:-Werror>
  # 554: a view template's conversion to its own const form, which for that form itself is unused.
  $<$<COMPILE_LANGUAGE:CUDA>:--Werror=all-warnings --diag-suppress=554 --expt-relaxed-constexpr -Xcompiler=-Wall,-Wextra>
  # GCC 12 false positive in std::string operator+ at -O2 (GCC bug 105651).
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-restrict>)
target_include_directories(krasis_flags INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_link_libraries(krasis_flags INTERFACE Threads::Threads)
if(KRASIS_SANITIZE)
  target_compile_options(krasis_flags INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${KRASIS_SANITIZE} -fno-omit-frame-pointer>
    # clang 14 cannot assemble coroutines with it.
    $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-fno-sanitize=function>)
  target_link_options(krasis_flags INTERFACE -fsanitize=${KRASIS_SANITIZE})
endif()
# What computes is optimised in sanitizer builds too, or their tests would take an hour; the rest
# compiles twice as fast unoptimised. Only the rest is guided by the fuzzers: it is what parses.
set(computing_folders base tensor quant ops cpu model engine)

function(krasis_library)
  cmake_parse_arguments(ARG "" "NAME" "DEPS;LIBS;SOURCES" ${ARGN})
  add_library(krasis_${ARG_NAME} STATIC ${ARG_SOURCES})
  target_link_libraries(krasis_${ARG_NAME} PUBLIC krasis_flags ${ARG_LIBS})
  if(KRASIS_SANITIZE AND ARG_NAME IN_LIST computing_folders)
    target_compile_options(krasis_${ARG_NAME} PRIVATE -O2)
  elseif(KRASIS_FUZZ)
    target_compile_options(krasis_${ARG_NAME} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
  foreach(dep IN LISTS ARG_DEPS)
    target_link_libraries(krasis_${ARG_NAME} PUBLIC krasis_${dep})
  endforeach()
endfunction()

# krasis_test(NAME <folder> DEPS <folders...> SOURCES <files...>): one test program per folder.
# Tests find the reference data through KRASIS_REFERENCE_DIR (see tests/support/reference_data.h).
function(krasis_test)
  cmake_parse_arguments(ARG "" "NAME" "DEPS;LIBS;SOURCES;LABELS" ${ARGN})
  add_executable(test_${ARG_NAME} ${ARG_SOURCES})
  target_include_directories(test_${ARG_NAME} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(test_${ARG_NAME} PRIVATE GTest::gtest_main ${ARG_LIBS})
  foreach(dep IN LISTS ARG_DEPS)
    target_link_libraries(test_${ARG_NAME} PRIVATE krasis_${dep})
  endforeach()
  target_compile_definitions(test_${ARG_NAME} PRIVATE
    KRASIS_REFERENCE_DIR="${PROJECT_SOURCE_DIR}/../shared/reference"
    KRASIS_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  gtest_discover_tests(test_${ARG_NAME} DISCOVERY_TIMEOUT 60 PROPERTIES LABELS "${ARG_LABELS};${ARG_NAME}" TIMEOUT 600
    SKIP_REGULAR_EXPRESSION "no device: ")
endfunction()
