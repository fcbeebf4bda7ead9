#include "cuda/linear_plan.h"

namespace krasis::cuda {

LinearPath linear_path(const Matrix& weight, std::int64_t tokens, std::int64_t heads,
                       bool has_cublas) {
  if (weight.format == Matrix::Format::Tiles) {
    if (tokens <= kTileVectorTokens) return LinearPath::TileVector;
    return heads > 1 || has_cublas ? LinearPath::TileDense : LinearPath::TileGemm;
  }
  // Eight elements are read at a time.
  const bool aligned =
      weight.columns % 8 == 0 && reinterpret_cast<std::uintptr_t>(weight.data) % 16 == 0;
  if (weight.format != Matrix::Format::BF16 || !aligned) return LinearPath::Any;
  const std::int64_t most = has_cublas ? kLinearVectorTokens : kOwnLinearVectorTokens;
  if (tokens <= most) return LinearPath::Vector;
  return weight.rows <= kFewRows && heads == 1 ? LinearPath::FewRows : LinearPath::Dense;
}

}  // namespace krasis::cuda
