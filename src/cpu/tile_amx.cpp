// Compiled for AVX-512 and AMX-INT8; see tile_kernels.h for what may be included here.
//
// A tile product is C [16 tokens, 16 rows] += A [16 tokens, 64 columns] * B [16 steps, 16 rows, 4
// columns]: B is a block of the unpacked weights as it is, A a panel that activations are copied
// to. At the end of each group C is scaled and added to F32 sums.
#include <immintrin.h>

#include "cpu/tile_vectors512.h"

namespace krasis::cpu {
namespace {

constexpr std::int64_t kTileTokens = 16;
constexpr std::int64_t kMaxTokens = 64;   // in a block: the work of unpacking is shared by them
constexpr std::int64_t kLeastTokens = 8;  // with fewer, tiles are mostly empty
constexpr int kChunk = 64;                // columns of A

// Scratch: the unpacked group, the products of two by two tiles, sums, scales, then the panel.
constexpr std::size_t kProductsAt = std::size_t{8} << 10;
constexpr std::size_t kSumsAt = kProductsAt + std::size_t{4} * 16 * 16 * sizeof(std::int32_t);
constexpr std::size_t kScalesAt = kSumsAt + kMaxTokens * kStrip * sizeof(float);
constexpr std::size_t kPanelAt = kScalesAt + kStrip * sizeof(float);

struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};

// GCC's tile intrinsics do not tell the compiler which memory they read (the configuration: its
// first eight bytes only): without this, stores in front of them are moved behind or left out.
inline void finish_stores() {
  asm volatile("" ::: "memory");
}

// Tiles 0-3 are C, 4 and 5 A, 6 and 7 B. A group of 32 columns fills half of A and B.
void configure(int group) {
  const int columns = group < kChunk ? group : kChunk;
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    const bool is_a = tile == 4 || tile == 5;
    const bool is_b = tile >= 6;
    config.row_bytes[tile] = static_cast<std::uint16_t>(is_a ? columns : 64);
    config.rows[tile] = static_cast<std::uint8_t>(is_b ? columns / 4 : 16);
  }
  asm volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

// Tokens first .. first + count of a call, filled up to `tokens` with zeros.
struct Panel {
  std::int64_t first, count, tokens;
  std::int8_t* q;         // [columns / 64][tokens][64]
  float* scales;          // [groups][tokens]
  std::int32_t* offsets;  // [groups][tokens]
};

Panel make_panel(const TileProduct& job, std::int64_t first, std::int64_t count) {
  const std::int64_t groups = job.columns / job.group;
  const std::int64_t tokens = (count + kTileTokens - 1) / kTileTokens * kTileTokens;
  std::uint8_t* memory = job.scratch + kPanelAt;
  Panel panel{first, count, tokens, reinterpret_cast<std::int8_t*>(memory), nullptr, nullptr};
  panel.scales = reinterpret_cast<float*>(memory + tokens * job.columns);
  panel.offsets = reinterpret_cast<std::int32_t*>(panel.scales + groups * tokens);
  for (std::int64_t t = 0; t < tokens; ++t) {
    const bool exists = t < count;
    const std::int64_t row = exists ? job.in_rows[first + t] : 0;
    for (std::int64_t k = 0; k < job.columns; k += kChunk) {
      const __m512i q = exists ? load512(job.q + row * job.columns + k) : _mm512_setzero_si512();
      _mm512_store_si512(panel.q + k * tokens + t * kChunk, q);
    }
    for (std::int64_t g = 0; g < groups; ++g) {
      panel.scales[g * tokens + t] = exists ? job.x_scales[row * groups + g] : 0;
      panel.offsets[g * tokens + t] = exists ? job.x_offsets[row * groups + g] : 0;
    }
  }
  return panel;
}

// C of two token tiles (one, if `pair` is false) and two blocks of rows: [token tile][block] [16
// tokens][16 rows].
void multiply(const std::int8_t* q, std::int64_t chunk_stride, bool pair,
              const std::uint8_t* weights, int group, std::int32_t* products) {
  finish_stores();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int k = 0; k < group; k += kChunk, q += chunk_stride, weights += 16 * kBlocks * 64) {
    _tile_loadd(6, weights, kBlocks * 64);
    _tile_loadd(7, weights + 64, kBlocks * 64);
    _tile_loadd(4, q, kChunk);
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 4, 7);
    if (!pair) continue;
    _tile_loadd(5, q + kTileTokens * kChunk, kChunk);
    _tile_dpbsud(2, 5, 6);
    _tile_dpbsud(3, 5, 7);
  }
  _tile_stored(0, products, 64);
  _tile_stored(1, products + 256, 64);
  if (!pair) return;
  _tile_stored(2, products + 512, 64);
  _tile_stored(3, products + 768, 64);
}

// sums[t][block] += scaled products of 16 tokens with two blocks.
void add_products(const std::int32_t* products, const float* x_scales,
                  const std::int32_t* x_offsets, const float* scales, float* sums) {
  const __m512 first = _mm512_load_ps(scales);
  const __m512 second = _mm512_load_ps(scales + 16);
  for (int t = 0; t < kTileTokens; ++t, products += 16, sums += kStrip) {
    const __m512i offset = _mm512_set1_epi32(x_offsets[t]);
    const __m512 x_scale = _mm512_set1_ps(x_scales[t]);
    const __m512 a = _mm512_cvtepi32_ps(_mm512_sub_epi32(load512(products), offset));
    const __m512 b = _mm512_cvtepi32_ps(_mm512_sub_epi32(load512(products + 256), offset));
    _mm512_store_ps(sums, _mm512_fmadd_ps(a, _mm512_mul_ps(first, x_scale), _mm512_load_ps(sums)));
    _mm512_store_ps(sums + 16,
                    _mm512_fmadd_ps(b, _mm512_mul_ps(second, x_scale), _mm512_load_ps(sums + 16)));
  }
}

void add_group(const TileProduct& job, const Panel& panel, std::int64_t g) {
  auto* products = reinterpret_cast<std::int32_t*>(job.scratch + kProductsAt);
  auto* sums = reinterpret_cast<float*>(job.scratch + kSumsAt);
  const auto* scales = reinterpret_cast<const float*>(job.scratch + kScalesAt);
  const std::int64_t column = g * job.group;
  const std::int8_t* q = panel.q + column / kChunk * kChunk * panel.tokens + column % kChunk;
  const float* x_scales = panel.scales + g * panel.tokens;
  const std::int32_t* x_offsets = panel.offsets + g * panel.tokens;
  for (int block = 0; block < kBlocks; block += 2) {
    for (std::int64_t t = 0; t < panel.tokens; t += 2 * kTileTokens) {
      const bool pair = t + kTileTokens < panel.tokens;
      multiply(q + t * kChunk, panel.tokens * kChunk, pair, job.scratch + block * 64, job.group,
               products);
      float* block_sums = sums + t * kStrip + block * 16;
      add_products(products, x_scales + t, x_offsets + t, scales + block * 16, block_sums);
      if (!pair) continue;
      add_products(products + 512, x_scales + t + kTileTokens, x_offsets + t + kTileTokens,
                   scales + block * 16, block_sums + kTileTokens * kStrip);
    }
  }
}

template <int kBits>
void multiply_strips(const TileProduct& job, const Panel& panel) {
  const std::int64_t groups = job.columns / job.group;
  auto* sums = reinterpret_cast<float*>(job.scratch + kSumsAt);
  for (std::int64_t strip = 0; strip < job.strips; ++strip) {
    const std::uint8_t* tiles = job.tiles + strip * job.columns * kStrip * kBits / 8;
    const std::uint16_t* scales = job.scales + strip * groups * kStrip;
    for (std::int64_t n = 0; n < panel.tokens * kStrip; n += 16)
      _mm512_store_ps(sums + n, _mm512_setzero_ps());
    for (std::int64_t g = 0; g < groups; ++g) {
      unpack_group<kBits>(tiles + g * job.group * kStrip * kBits / 8, job.group, job.scratch);
      unpack_scales<kBits>(scales + g * kStrip, reinterpret_cast<float*>(job.scratch + kScalesAt));
      add_group(job, panel, g);
    }
    for (std::int64_t t = 0; t < panel.count; ++t)
      finish_sums<kBits>(job, strip, panel.first + t, sums + t * kStrip);
  }
}

// Tokens whose panel fits into the scratch.
std::int64_t block_tokens(const TileProduct& job) {
  const std::int64_t bytes = job.columns + job.columns / job.group * 8;
  const std::int64_t fitting =
      static_cast<std::int64_t>(kTileScratchBytes - kPanelAt) / bytes / kTileTokens * kTileTokens;
  return fitting < kMaxTokens ? fitting : kMaxTokens;
}

}  // namespace

void tile_product_amx(const TileProduct& job) {
  const std::int64_t block = block_tokens(job);
  if (job.rows < kLeastTokens || block == 0) {
    tile_product_avx512(job);
    return;
  }
  configure(job.group);
  for (std::int64_t first = 0; first < job.rows; first += block) {
    const std::int64_t count = job.rows - first < block ? job.rows - first : block;
    const Panel panel = make_panel(job, first, count);
    job.bits == 4 ? multiply_strips<4>(job, panel) : multiply_strips<8>(job, panel);
  }
  _tile_release();
}

}  // namespace krasis::cpu
