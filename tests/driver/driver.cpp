// A libcuda.so.1 for tests of the whole program: stands before the driver of a machine with a GPU,
// or alone on one without, and answers some calls differently. What it does is said in the
// environment:
//   KRASIS_DRIVER           the driver behind it, an absolute path; without one there is no GPU
//   KRASIS_DRIVER_VERSION   12040: it knows CUDA 12.4
//   KRASIS_DRIVER_INIT      100: cuInit() answers that there is no device
//   KRASIS_DRIVER_CAPABILITY  75: the GPU's
//   KRASIS_DRIVER_FREE      bytes that are free in the GPU's memory
//   KRASIS_DRIVER_FAIL      12: call 12 of those that may need memory finds none; 12-: all from
//   there;
//                           12/7: from there every seventh
//   KRASIS_DRIVER_FAIL_AMONG  cuGraphLaunch,cuMemAlloc: of these calls only
//   KRASIS_DRIVER_CALLS     a file that at the end has their names, in order
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr int kOutOfMemory = 2, kNotFound = 500;
constexpr int kCapabilityMajor = 75, kCapabilityMinor = 76;  // of cuDeviceGetAttribute()

using Word = long;  // whatever a call is given, and more than that
using Function = int (*)(Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word);

const char* setting(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}
long number(const char* name) {
  return std::strtol(setting(name), nullptr, 10);
}

void* driver() {
  static void* const library = dlopen(setting("KRASIS_DRIVER"), RTLD_NOW | RTLD_LOCAL);
  return setting("KRASIS_DRIVER")[0] == '\0' ? nullptr : library;
}

// Calls that may find no memory, by the beginnings of their names.
constexpr std::array kCounted = {"cuMemAlloc",
                                 "cuMemHostAlloc",
                                 "cuMemHostRegister",
                                 "cuStreamCreate",
                                 "cuEventCreate",
                                 "cuGraphInstantiate",
                                 "cuGraphLaunch",
                                 "cuGraphUpload",
                                 "cuLaunchKernel",
                                 "cuLaunchHostFunc",
                                 "cuDevicePrimaryCtxRetain",
                                 "cuLibraryLoad",
                                 "cuModuleLoad",
                                 "cuStreamBeginCapture",
                                 "cuStreamEndCapture",
                                 "cuMemcpyHtoDAsync",
                                 "cuMemcpyAsync",
                                 "cuMemsetD8Async"};

bool is_counted(const std::string& name) {
  const std::string among = setting("KRASIS_DRIVER_FAIL_AMONG");
  for (const char* begin : kCounted)
    if (name.rfind(begin, 0) == 0) return among.empty() || among.find(begin) != std::string::npos;
  return false;
}

std::mutex calls_mutex;
std::vector<std::string> calls;

struct WritesCalls {
  ~WritesCalls() {
    std::FILE* file = std::fopen(setting("KRASIS_DRIVER_CALLS"), "w");
    if (file == nullptr) return;
    for (const std::string& call : calls) std::fprintf(file, "%s\n", call.c_str());
    std::fclose(file);
  }
} writes_calls;

bool fails(long call) {
  static const long first = number("KRASIS_DRIVER_FAIL");
  static const char* const rest = std::strpbrk(setting("KRASIS_DRIVER_FAIL"), "-/");
  if (first == 0 || call < first) return false;
  if (rest == nullptr) return call == first;
  return *rest == '-' || (call - first) % std::strtol(rest + 1, nullptr, 10) == 0;
}

struct Slot {
  std::string name;
  Function real = nullptr;
};
std::array<Slot, 256> slots;
std::atomic<std::size_t> slots_used{0};

template <std::size_t kSlot>
int counted(Word a, Word b, Word c, Word d, Word e, Word f, Word g, Word h, Word i, Word j, Word k,
            Word l) {
  long call = 0;
  {
    const std::lock_guard lock(calls_mutex);
    calls.push_back(slots[kSlot].name);
    call = static_cast<long>(calls.size());
  }
  if (fails(call)) return kOutOfMemory;
  return slots[kSlot].real(a, b, c, d, e, f, g, h, i, j, k, l);
}

template <std::size_t... kSlots>
constexpr std::array<Function, sizeof...(kSlots)> counted_table(std::index_sequence<kSlots...>) {
  return {counted<kSlots>...};
}

int init(unsigned flags) {
  if (const long result = number("KRASIS_DRIVER_INIT"); result != 0)
    return static_cast<int>(result);
  const auto real =
      reinterpret_cast<int (*)(unsigned)>(driver() ? dlsym(driver(), "cuInit") : nullptr);
  return real == nullptr ? 100 : real(flags);
}

int version(int* out) {
  *out = static_cast<int>(number("KRASIS_DRIVER_VERSION"));
  if (*out != 0) return 0;
  const auto real =
      reinterpret_cast<int (*)(int*)>(driver() ? dlsym(driver(), "cuDriverGetVersion") : nullptr);
  *out = 13000;
  return real == nullptr ? 0 : real(out);
}

int attribute(int* value, int which, int device) {
  const long capability = number("KRASIS_DRIVER_CAPABILITY");
  if (capability != 0 && (which == kCapabilityMajor || which == kCapabilityMinor)) {
    *value = static_cast<int>(which == kCapabilityMajor ? capability / 10 : capability % 10);
    return 0;
  }
  return reinterpret_cast<int (*)(int*, int, int)>(dlsym(driver(), "cuDeviceGetAttribute"))(
      value, which, device);
}

int memory_info(std::size_t* free, std::size_t* total) {
  const int result = reinterpret_cast<int (*)(std::size_t*, std::size_t*)>(
      dlsym(driver(), "cuMemGetInfo_v2"))(free, total);
  if (setting("KRASIS_DRIVER_FREE")[0] != '\0')
    *free = static_cast<std::size_t>(number("KRASIS_DRIVER_FREE"));
  return result;
}

}  // namespace

using Flags = unsigned long long;
using FindV1 = int (*)(const char*, void**, int, Flags);
using FindV2 = int (*)(const char*, void**, int, Flags, int*);

extern "C" int cuGetProcAddress_v2(const char* name, void** function, int cuda, Flags flags,
                                   int* status);

extern "C" int cuGetProcAddress(const char* name, void** function, int cuda, Flags flags) {
  return cuGetProcAddress_v2(name, function, cuda, flags, nullptr);
}

extern "C" int cuGetProcAddress_v2(const char* name, void** function, int cuda, Flags flags,
                                   int* status) {
  const std::string wanted = name;
  int result = kNotFound;
  *function = nullptr;
  if (driver() != nullptr) {
    result = reinterpret_cast<FindV2>(dlsym(driver(), "cuGetProcAddress_v2"))(name, function, cuda,
                                                                              flags, status);
  }
  const auto answer = [&](auto ours) {
    *function = reinterpret_cast<void*>(ours);
    if (status != nullptr) *status = 0;
    return 0;
  };
  if (wanted == "cuGetProcAddress" && cuda < 12000) return answer(cuGetProcAddress);
  if (wanted == "cuGetProcAddress") return answer(cuGetProcAddress_v2);
  if (wanted == "cuInit") return answer(init);
  if (wanted == "cuDriverGetVersion") return answer(version);
  if (result != 0 || *function == nullptr) return result;
  if (wanted == "cuDeviceGetAttribute") return answer(attribute);
  if (wanted == "cuMemGetInfo") return answer(memory_info);
  if (!is_counted(wanted)) return result;
  const std::size_t slot = slots_used++;
  if (slot >= slots.size()) std::abort();
  slots[slot] = {wanted, reinterpret_cast<Function>(*function)};
  static constexpr auto kTable = counted_table(std::make_index_sequence<slots.size()>());
  return answer(kTable[slot]);
}

extern "C" int cuInit(unsigned flags) {
  return init(flags);
}
extern "C" int cuDriverGetVersion(int* out) {
  return version(out);
}
