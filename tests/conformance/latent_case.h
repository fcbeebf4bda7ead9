// Attention over a cache of random latents.
#pragma once

#include <optional>

#include "conformance/paged_cache.h"
#include "conformance/tiles.h"

namespace krasis::test {

struct LatentShape {
  std::int64_t heads, nope, rope, latent, value;
};

class LatentCase {
 public:
  LatentCase(const LatentShape& shape, Matrix::Format format, DType dtype,
             const std::vector<Sequence>& sequences)
      : shape_(shape),
        cache_({shape.heads, 1, shape.latent + shape.rope, shape.latent, kPageTokens, true}, dtype,
               sequences),
        rows_(cache_.tokens * shape.heads),
        key_values_(normal_values(shape.heads * shape.latent * shape.nope, 6, spread())),
        value_values_(normal_values(shape.heads * shape.value * shape.latent, 7, spread())),
        key_up_(format, shape.heads * shape.latent, shape.nope, key_values_),
        value_up_(format, shape.heads * shape.value, shape.latent, value_values_),
        queries_(normal_values(rows_ * (shape.nope + shape.rope), 3)),
        rotated_(normal_values(rows_ * shape.rope, 4)) {}

  // Replaces the up-projections by tiles.
  void quantize() {
    constexpr TileType kType = {8, 128};
    key_tiles_.emplace(kType, shape_.heads * shape_.latent, shape_.nope, key_values_);
    value_tiles_.emplace(kType, shape_.heads * shape_.value, shape_.latent, value_values_);
  }

  // Queries are columns of wider rows, as those of a projection are. Pointers into this.
  AttentionOverLatents operation() {
    absorbed_.assign(static_cast<std::size_t>(rows_ * cache_.kv.key_dim), kUntouched);
    mixed_.assign(static_cast<std::size_t>(rows_ * shape_.latent), kUntouched);
    out_.assign(static_cast<std::size_t>(rows_ * shape_.value), kUntouched);
    const MutableRows absorbed(absorbed_.data(), rows_, cache_.kv.key_dim);
    for (std::int64_t r = 0; r < rows_; ++r)
      std::copy_n(rotated_.data() + r * shape_.rope, shape_.rope, absorbed.row(r) + shape_.latent);
    return {
        .queries = Rows(queries_.data(), rows_, shape_.nope + shape_.rope).columns(0, shape_.nope),
        .absorbed = absorbed,
        .mixed = MutableRows(mixed_.data(), rows_, shape_.latent),
        .key_up = key_tiles_ ? key_tiles_->matrix() : key_up_.matrix(),
        .value_up = value_tiles_ ? value_tiles_->matrix() : value_up_.matrix(),
        .kv = cache_.kv,
        .segments = cache_.segments,
        .heads = shape_.heads,
        .scale = 1 / std::sqrt(static_cast<float>(shape_.nope + shape_.rope)),
        .out = MutableRows(out_.data(), rows_, shape_.value)};
  }

  // Of the segments' rows.
  std::vector<float> results() const {
    std::vector<float> all;
    const auto width = shape_.heads * shape_.value;
    for (const Segment& segment : cache_.segments) {
      const auto first = out_.begin() + segment.first_row * width;
      all.insert(all.end(), first, first + segment.rows * width);
    }
    return all;
  }
  std::vector<float> run(Ops& ops) {
    ops.attention_over_latents(operation());
    return results();
  }

  PagedCache& cache() { return cache_; }

 private:
  static constexpr std::int64_t kPageTokens = 16;
  // Keys and values as large as latents.
  float spread() const { return 1 / std::sqrt(static_cast<float>(shape_.latent)); }

  LatentShape shape_;
  PagedCache cache_;
  std::int64_t rows_;
  std::vector<float> key_values_, value_values_;
  PlainMatrix key_up_, value_up_;
  std::optional<Tiles> key_tiles_, value_tiles_;
  std::vector<float> queries_, rotated_, absorbed_, mixed_, out_;
};

}  // namespace krasis::test
