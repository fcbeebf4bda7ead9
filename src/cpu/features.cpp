#include "cpu/features.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace krasis::cpu {
namespace {

struct Registers {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d);
  return r;
}

bool bit(unsigned value, int index) {
  return ((value >> index) & 1U) != 0;
}

// Linux hands out the tiles' 8 KiB of state only to a process that asks for it.
bool allow_tiles() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

const Features& features() {
  static const Features found = [] {
    __builtin_cpu_init();  // __builtin_cpu_supports also asks whether the system saves the state
    Features f;
    // clang 14 cannot ask for F16C; every processor with AVX2 has it.
    f.avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
    f.avx_vnni = f.avx2 && bit(cpuid(7, 1).a, 4);
    f.avx512 = f.avx2 && __builtin_cpu_supports("avx512f") != 0 &&
               __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
               __builtin_cpu_supports("avx512vl") != 0;
    f.avx512_vnni = f.avx512 && __builtin_cpu_supports("avx512vnni") != 0;
    const unsigned extended = cpuid(7, 0).d;
    f.amx_int8 = f.avx512_vnni && bit(extended, 24) && bit(extended, 25) && allow_tiles();
    return f;
  }();
  return found;
}

}  // namespace krasis::cpu
