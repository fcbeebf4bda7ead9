// Weights into tiles. Every function works on a range of strips [first, last) of the matrix and
// writes only what belongs to them, so that strips can be divided over threads. Destination bytes
// of the range are all written, the padding too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "quant/expert_tiles.h"
#include "tensor/dtype.h"

namespace krasis {

// Row-major weights in memory: row r starts at data + r * row_bytes.
struct WeightRows {
  DType dtype = DType::BF16;  // F32, BF16 or F16
  const std::byte* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::size_t row_bytes = 0;  // 0: rows follow each other

  const std::byte* row(std::int64_t index) const;
};

// Where tiles are written: as TileMatrix, but mutable.
struct TileTarget {
  TileShape shape;
  std::byte* tiles;
  bf16* scales;
};

enum class ScaleSearch : std::uint8_t {
  Nearest,           // scale = max|w| / 7 or 127
  LeastSquareError,  // the scale, of either sign, with the least sum of weighted squared errors
};

struct QuantizeOptions {
  ScaleSearch search = ScaleSearch::LeastSquareError;
  // What an error in a column costs, for example the mean square of the activations that meet it:
  // [columns], not negative; empty: every column the same.
  std::span<const float> importance = {};
};

// W[n, k] ~= scale * q. The scale is rounded to BF16 before q is chosen. Weights that are not
// finite throw Error(Corrupt), shapes that do not fit Error(InvalidArgument), types other than F32,
// BF16 and F16 Error(Unsupported).
void quantize_strips(const WeightRows& weight, const TileTarget& target, std::int64_t first_strip,
                     std::int64_t last_strip, const QuantizeOptions& options = {});

// The same for w13, of gate and up [intermediate, hidden].
void quantize_w13_strips(const WeightRows& gate, const WeightRows& up, const TileTarget& target,
                         std::int64_t first_strip, std::int64_t last_strip,
                         const QuantizeOptions& options = {});

// compressed-tensors "pack-quantized" INT4: eight nibbles in an int32, lowest first, stored as
// q + 8, with BF16 scales [rows, columns / group]; the nibbles and scales are kept as they are.
struct CompressedRows {
  const std::int32_t* packed = nullptr;  // [rows, columns / 8]
  const bf16* scales = nullptr;          // [rows, columns / group]
  std::int64_t rows = 0;
  std::int64_t columns = 0;  // a multiple of the target's group
};
void repack_strips(const CompressedRows& weight, const TileTarget& target, std::int64_t first_strip,
                   std::int64_t last_strip);
void repack_w13_strips(const CompressedRows& gate, const CompressedRows& up,
                       const TileTarget& target, std::int64_t first_strip, std::int64_t last_strip);

}  // namespace krasis
