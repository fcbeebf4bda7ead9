// Which kernel a product with a dense matrix takes; host arithmetic only.
#pragma once

#include <cstdint>

#include "ops/matrix.h"

namespace krasis::cuda {

enum class LinearPath : std::uint8_t {
  Any,         // every format and shape, x F32
  Vector,      // BF16, few tokens, x as the sum of two BF16: bound by reading the weights
  Dense,       // BF16, x rounded to BF16: cuBLASLt, or an own kernel without it
  FewRows,     // BF16, many tokens and a few rows, x with 16 bits or more: bound by reading x
  TileVector,  // tiles, few tokens
  TileGemm,    // tiles, in registers
  TileDense,   // tiles, dequantized to BF16 in parts, then as Dense
};

// With cuBLASLt, and without: the latter's alternative wants many tokens.
constexpr std::int64_t kLinearVectorTokens = 8;
constexpr std::int64_t kOwnLinearVectorTokens = 16;
// A tile's block of rows is 256, so that few tokens leave multiprocessors without work: up to here
// it is quicker to read the weights once more from the L2 cache for every eight tokens. Beyond,
// dequantizing a matrix costs less than what cuBLASLt gains.
constexpr std::int64_t kTileVectorTokens = 32;
// Products with so few rows cost little; routers are among them, whose choices a rounding turns.
// Dense takes x as the sum of two BF16 then.
constexpr std::int64_t kExactRows = 512;
constexpr std::int64_t kFewRows = 4;

LinearPath linear_path(const Matrix& weight, std::int64_t tokens, std::int64_t heads,
                       bool has_cublas);

}  // namespace krasis::cuda
