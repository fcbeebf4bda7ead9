// Compiled for AVX-512 and AMX-INT8; see tile_kernels.h for what may be included here.
//
// A tile product is C [tokens, 16 rows] += A [tokens, 64 columns] * B [16 steps, 16 rows, 4
// columns]: B is a block of the unpacked weights as it is, A a panel that activations are copied
// to. At the end of each group C is scaled and added to F32 sums.
//
// A group's work is cut into turns of two tiles C. A turn multiplies, stores the products of the
// turn before, adds those of the turn before that, and unpacks a part of the next group. Each of
// the four would wait some hundred cycles for what it needs if it came directly behind it (a tile
// cannot be loaded before stores to its memory have left the store buffer); as it is, none waits.
#include <immintrin.h>

#include "cpu/tile_vectors512.h"

namespace krasis::cpu {
namespace {

constexpr std::int64_t kTileTokens = 16;  // at most
constexpr std::int64_t kMaxTokens = 64;   // in a block: the work of unpacking is shared by them
constexpr std::int64_t kLeastTokens = 6;  // with fewer, AVX-512 is as quick
constexpr int kChunk = 64;                // columns of A

// Scratch: two unpacked groups, the products of two turns, sums, scales, then the panel.
constexpr std::size_t kUnpackedBytes = std::size_t{8} << 10;
constexpr std::int64_t kTileProducts = kTileTokens * 16;
constexpr std::size_t kProductsAt = 2 * kUnpackedBytes;
constexpr std::size_t kSumsAt = kProductsAt + 4 * kTileProducts * sizeof(std::int32_t);
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
void configure(int group, std::int64_t tokens) {
  const int columns = group < kChunk ? group : kChunk;
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    const bool is_a = tile == 4 || tile == 5;
    const bool is_b = tile >= 6;
    config.row_bytes[tile] = static_cast<std::uint16_t>(is_a ? columns : 64);
    config.rows[tile] = static_cast<std::uint8_t>(is_b ? columns / 4 : tokens);
  }
  asm volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

// The two tiles C of a turn: one tile of tokens and two blocks of rows, or two tiles of tokens and
// one block.
struct EvenTiles {
  static void zero() {
    _tile_zero(0);
    _tile_zero(1);
  }
  static void add_two_blocks() {
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 4, 7);
  }
  static void add_two_tiles() {
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 5, 6);
  }
  static void store(std::int32_t* products) {
    _tile_stored(0, products, 64);
    _tile_stored(1, products + kTileProducts, 64);
  }
};

struct OddTiles {
  static void zero() {
    _tile_zero(2);
    _tile_zero(3);
  }
  static void add_two_blocks() {
    _tile_dpbsud(2, 4, 6);
    _tile_dpbsud(3, 4, 7);
  }
  static void add_two_tiles() {
    _tile_dpbsud(2, 4, 6);
    _tile_dpbsud(3, 5, 6);
  }
  static void store(std::int32_t* products) {
    _tile_stored(2, products, 64);
    _tile_stored(3, products + kTileProducts, 64);
  }
};

// Tokens first .. first + count of a call in one tile or pairs of tiles of equal size, filled up
// with zeros.
struct Panel {
  std::int64_t first, count;
  std::int64_t tile;      // tokens in a tile
  std::int64_t tokens;    // in all tiles
  std::int8_t* q;         // [columns / 64][tokens][64]
  float* scales;          // [groups][tokens]
  std::int32_t* offsets;  // [groups][tokens]
};

Panel make_panel(const TileProduct& job, std::int64_t first, std::int64_t count) {
  const std::int64_t groups = job.columns / job.group;
  const std::int64_t pairs = (count + 2 * kTileTokens - 1) / (2 * kTileTokens);
  const std::int64_t tiles = count <= kTileTokens ? 1 : 2 * pairs;
  const std::int64_t tile = (count + tiles - 1) / tiles;
  const std::int64_t tokens = tiles * tile;
  std::uint8_t* memory = job.scratch + kPanelAt;
  Panel panel{first, count, tile, tokens, reinterpret_cast<std::int8_t*>(memory), nullptr, nullptr};
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

// Products of a tile of tokens and a block, and where they go.
struct TileSums {
  const std::int32_t* products;   // [tokens][16]
  const float* x_scales;          // [tokens]
  const std::int32_t* x_offsets;  // [tokens]
  const float* scales;            // [16]
  float* sums;                    // [tokens][kStrip], 16 of each
  std::int64_t tokens;
  bool first;  // group of the strip: nothing has been summed yet
};

inline void add_products(const TileSums& job) {
  const __m512 scales = _mm512_load_ps(job.scales);
  const auto keep = static_cast<__mmask16>(job.first ? 0 : 0xffff);
  for (std::int64_t t = 0; t < job.tokens; ++t) {
    const __m512i offset = _mm512_set1_epi32(job.x_offsets[t]);
    const __m512 x_scale = _mm512_set1_ps(job.x_scales[t]);
    float* sums = job.sums + t * kStrip;
    const __m512 dot = _mm512_cvtepi32_ps(_mm512_sub_epi32(load512(job.products + t * 16), offset));
    _mm512_store_ps(sums, _mm512_fmadd_ps(dot, _mm512_mul_ps(scales, x_scale),
                                          _mm512_maskz_load_ps(keep, sums)));
  }
}

// A run of strips with one panel. Groups are counted over all strips.
template <int kBits>
class Strips {
 public:
  Strips(const TileProduct& job, const Panel& panel)
      : job_(job),
        panel_(panel),
        groups_(job.columns / job.group),
        two_tiles_(panel.tokens > panel.tile),
        turns_(two_tiles_ ? panel.tokens / panel.tile * kBlocks / 2 : kBlocks / 2) {}

  void run() {
    const std::int64_t last = job_.strips * groups_;
    for (std::int64_t turn = 0; turn < turns_; ++turn) unpack(0, turn);
    for (std::int64_t group = 0; group < last; ++group) {
      for (std::int64_t turn = 0; turn < turns_; turn += 2) {
        take_turn<EvenTiles, OddTiles>(group, turn, 0);
        take_turn<OddTiles, EvenTiles>(group, turn + 1, 1);
      }
    }
    OddTiles::store(products(1));
    add(last - 1, turns_ - 2);
    add(last - 1, turns_ - 1);
  }

 private:
  template <class Tiles, class TilesBefore>
  void take_turn(std::int64_t group, std::int64_t turn, int parity) {
    finish_stores();
    multiply<Tiles>(group, turn);
    TilesBefore::store(products(1 - parity));
    if (group + 1 < job_.strips * groups_) unpack(group + 1, turn);
    if (turn >= 2) {
      add(group, turn - 2);
    } else if (group > 0) {
      add(group - 1, turns_ - 2 + turn);
    }
  }

  // Where the turn's block and tokens begin.
  std::int64_t block_of(std::int64_t turn) const { return two_tiles_ ? turn % kBlocks : 2 * turn; }
  std::int64_t token_of(std::int64_t turn) const {
    return two_tiles_ ? turn / kBlocks * 2 * panel_.tile : 0;
  }
  std::uint8_t* unpacked(std::int64_t group) const {
    return job_.scratch + static_cast<std::size_t>(group % 2) * kUnpackedBytes;
  }
  std::int32_t* products(std::int64_t turn) const {
    return reinterpret_cast<std::int32_t*>(job_.scratch + kProductsAt) +
           turn % 2 * 2 * kTileProducts;
  }

  template <class Tiles>
  void multiply(std::int64_t group, std::int64_t turn) const {
    const std::int64_t column = group % groups_ * job_.group;
    const std::int8_t* q = panel_.q + column / kChunk * kChunk * panel_.tokens + column % kChunk +
                           token_of(turn) * kChunk;
    const std::uint8_t* weights = unpacked(group) + block_of(turn) * 64;
    Tiles::zero();
    for (int k = 0; k < job_.group; k += kChunk) {
      _tile_loadd(4, q, kChunk);
      _tile_loadd(6, weights, kBlocks * 64);
      if (two_tiles_) {
        _tile_loadd(5, q + panel_.tile * kChunk, kChunk);
        Tiles::add_two_tiles();
      } else {
        _tile_loadd(7, weights + 64, kBlocks * 64);
        Tiles::add_two_blocks();
      }
      q += panel_.tokens * kChunk;
      weights += 16 * kBlocks * 64;
    }
  }

  void unpack(std::int64_t group, std::int64_t turn) const {
    const std::int64_t tiles = job_.group / kTile;
    const std::int64_t from = turn * tiles / turns_;
    const std::int64_t to = (turn + 1) * tiles / turns_;
    unpack_group<kBits>(job_.tiles + (group * tiles + from) * kTile * kStrip * kBits / 8,
                        static_cast<int>(to - from) * kTile,
                        unpacked(group) + from * 4 * kBlocks * 64);
  }

  void add(std::int64_t group, std::int64_t turn) const {
    auto* scales = reinterpret_cast<float*>(job_.scratch + kScalesAt);
    if (turn == 0) unpack_scales<kBits>(job_.scales + group * kStrip, scales);
    auto* sums = reinterpret_cast<float*>(job_.scratch + kSumsAt);
    const std::int64_t g = group % groups_;
    for (std::int64_t half = 0; half < 2; ++half) {
      const std::int64_t block = block_of(turn) + (two_tiles_ ? 0 : half);
      const std::int64_t token = token_of(turn) + (two_tiles_ ? half * panel_.tile : 0);
      add_products({.products = products(turn) + half * kTileProducts,
                    .x_scales = panel_.scales + g * panel_.tokens + token,
                    .x_offsets = panel_.offsets + g * panel_.tokens + token,
                    .scales = scales + block * 16,
                    .sums = sums + token * kStrip + block * 16,
                    .tokens = panel_.tile,
                    .first = g == 0});
    }
    if (turn + 1 < turns_ || g + 1 < groups_) return;
    for (std::int64_t t = 0; t < panel_.count; ++t)
      finish_sums<kBits>(job_, group / groups_, panel_.first + t, sums + t * kStrip);
  }

  const TileProduct& job_;
  const Panel& panel_;
  const std::int64_t groups_;
  const bool two_tiles_;
  const std::int64_t turns_;  // of a group; even
};

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
  for (std::int64_t first = 0; first < job.rows; first += block) {
    const std::int64_t count = job.rows - first < block ? job.rows - first : block;
    const Panel panel = make_panel(job, first, count);
    configure(job.group, panel.tile);
    job.bits == 4 ? Strips<4>(job, panel).run() : Strips<8>(job, panel).run();
  }
  _tile_release();
}

}  // namespace krasis::cpu
