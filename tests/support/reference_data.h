// Where the reference data lies (../shared/reference beside the checkout), for tests that compare
// with what other programs computed. A test skips only where the folder as a whole is absent.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <gtest/gtest.h>

namespace krasis::test {

inline std::filesystem::path reference_dir() {
  const char* override_dir = std::getenv("KRASIS_REFERENCE_DIR");
  return override_dir != nullptr ? override_dir : KRASIS_REFERENCE_DIR;
}

}  // namespace krasis::test

#define KRASIS_NEEDS_REFERENCE()                                                         \
  do {                                                                                   \
    if (!std::filesystem::exists(krasis::test::reference_dir()))                         \
      GTEST_SKIP() << "no reference data at " << krasis::test::reference_dir().string(); \
  } while (false)
