// Compiled with -mavx2 -mfma -mavxvnni; see tile_kernels.h for what may be included here.
#include "cpu/tile_vectors256.h"

namespace krasis::cpu {
namespace {

// vpdpbusd adds four products to 32 bits: nothing to split and nothing to widen.
struct AvxVnni {
  // gcc 12 copies the accumulator twice a turn if it is a __m256i, which it takes for four 64-bit
  // numbers.
  using Sums = int __attribute__((vector_size(32)));
  static constexpr bool kNibbles = false;
  static constexpr int kTokensAtOnce = 6;  // 12 sums, 2 weights, 1 activation

  static void add_dot(Sums& sums, __m256i weights, __m256i x) {
    sums = (Sums)_mm256_dpbusd_avx_epi32((__m256i)sums, weights, x);
  }
  static __m256i widen(Sums sums, int /*factor: 1*/) { return (__m256i)sums; }
};

}  // namespace

void tile_product_avxvnni(const TileProduct& job) {
  product<AvxVnni>(job);
}

}  // namespace krasis::cpu
