// Compiled with -mavx2 -mfma; see tile_kernels.h for what may be included here.
#include "cpu/tile_vectors256.h"

namespace krasis::cpu {
namespace {

// vpmaddubsw multiplies unsigned weights with signed activations and adds pairs to 16 bits. With a
// nibble the result is at most 15 * 127 * 2 = 3810, so that eight results fit into 16 bits before
// they are widened. Bytes would not fit at all: they are split into nibbles, and the high nibbles'
// sums count 16 times.
struct Avx2 {
  using Sums = __m256i;
  static constexpr bool kNibbles = true;
  static constexpr int kTokensAtOnce = 4;  // 8 sums, 2 weights, 1 activation, 1 product

  // Left alone, gcc 12 reorders these sums so that all products are made first, in memory.
  static void add_dot(Sums& sums, __m256i weights, __m256i x) {
    sums = _mm256_add_epi16(sums, _mm256_maddubs_epi16(weights, x));
    asm("" : "+x"(sums));
  }
  static __m256i widen(Sums sums, int factor) {
    return _mm256_madd_epi16(sums, _mm256_set1_epi16(static_cast<short>(factor)));
  }
};

}  // namespace

void tile_product_avx2(const TileProduct& job) {
  product<Avx2>(job);
}

}  // namespace krasis::cpu
