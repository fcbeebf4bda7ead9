// Weight matrices as ops read them: W [rows, columns], y = W x. Views; whoever loaded the model
// owns the memory.
#pragma once

#include <optional>

#include "quant/tiles.h"
#include "tensor/tensor.h"

namespace krasis {

struct ExpertLayout;

struct Matrix {
  enum class Format : std::uint8_t { F32, BF16, F16, Tiles };

  Format format = Format::F32;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  const std::byte* data = nullptr;  // row-major elements; nullptr for Tiles
  std::optional<TileMatrix> tiles;  // for Tiles

  // Throws Error(Unsupported) if the elements are not F32, BF16 or F16.
  static Matrix of(const TensorView& view);
  static Matrix of(const TileMatrix& tiles);
};

// The feed-forward matrices of all experts of one layer. A dense MLP or a shared expert is a layer
// of one expert. An expert computes  w2 (silu(w1 x) * w3 x)  with w1 gate, w3 up [intermediate,
// hidden] and w2 down [hidden, intermediate].
struct ExpertMatrices {
  std::int64_t experts = 0;
  std::int64_t hidden = 0;
  std::int64_t intermediate = 0;

  // Either three plain matrices an expert, in one format ...
  const Matrix* gate = nullptr;  // [experts]
  const Matrix* up = nullptr;    // [experts]
  const Matrix* down = nullptr;  // [experts]

  // ... or tiles: expert e's parts start at base + e * expert_bytes + offset. w13 interleaves gate
  // and up in blocks of 8 rows: gate rows 0-7, up rows 0-7, gate rows 8-15, ...; it has
  // 2 * round_up(intermediate, 32) rows, w2's columns are padded to match.
  struct Tiled {
    const std::byte* base;
    std::size_t expert_bytes;
    TileShape w13, w2;
    std::size_t w13_tiles, w13_scales, w2_tiles, w2_scales;  // offsets
  };
  std::optional<Tiled> tiled;

  // Tiles of `experts` experts that lie one behind another from `base` on.
  static ExpertMatrices of(const ExpertLayout& layout, std::int64_t experts, const std::byte* base);

  // At least 0: `tiled` lies in the program's own memory although the ops' memory is another, and
  // this is its number among the layers that the backend was told of (cuda/devices.h).
  int placed = -1;
};

}  // namespace krasis
