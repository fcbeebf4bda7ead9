#include "quant/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "quant/pack.h"
#include "quant/quantizer.h"

namespace krasis {
namespace {

std::string shape_text(std::int64_t rows, std::int64_t columns) {
  return "[" + std::to_string(rows) + ", " + std::to_string(columns) + "]";
}

void check_strips(const TileShape& shape, std::int64_t first_strip, std::int64_t last_strip) {
  if (first_strip < 0 || first_strip > last_strip || last_strip > shape.strips()) {
    throw Error(ErrorCode::InvalidArgument, "quantize: strips " + std::to_string(first_strip) +
                                                " to " + std::to_string(last_strip) + " of " +
                                                std::to_string(shape.strips()));
  }
}

void check_matrix(const char* what, std::int64_t rows, std::int64_t columns,
                  std::int64_t expected_rows, const TileShape& shape) {
  if (rows != expected_rows || columns != shape.columns) {
    throw Error(ErrorCode::InvalidArgument, std::string("quantize: ") + what + " " +
                                                shape_text(rows, columns) + " does not fit tiles " +
                                                shape_text(shape.rows, shape.columns));
  }
}

void check_pair(const char* what, std::int64_t gate_rows, std::int64_t up_rows,
                const TileShape& shape) {
  if (gate_rows != up_rows || (gate_rows + 31) / 32 * 64 != shape.rows) {
    throw Error(ErrorCode::InvalidArgument,
                std::string("quantize: ") + what + " of " + std::to_string(gate_rows) + " and " +
                    std::to_string(up_rows) + " rows do not fit w13 tiles " +
                    shape_text(shape.rows, shape.columns));
  }
}

// Which row of which source a row of w13 is: blocks of 8 gate rows and 8 up rows.
struct W13Row {
  bool up;
  std::int64_t row;
};

W13Row w13_row(std::int64_t row) {
  return {row % 16 >= 8, row / 16 * 8 + row % 8};
}

// One strip as integers, before it is packed.
class StripBuilder {
 public:
  explicit StripBuilder(const TileTarget& target)
      : target_(target),
        q_(static_cast<std::size_t>(kStripRows * target.shape.padded_columns)),
        scales_(static_cast<std::size_t>(kStripRows * target.shape.groups())) {}

  std::int8_t* q(std::int64_t row) { return q_.data() + row * target_.shape.padded_columns; }
  bf16* scales(std::int64_t row) { return scales_.data() + row * target_.shape.groups(); }

  void clear_row(std::int64_t row) {
    std::fill_n(q(row), target_.shape.padded_columns, std::int8_t{0});
    std::fill_n(scales(row), target_.shape.groups(), bf16{});
  }

  void store(std::int64_t strip) {
    quant::pack_strip(
        target_.shape, q_.data(),
        target_.tiles + static_cast<std::size_t>(strip) * target_.shape.strip_bytes());
    quant::pack_scales(target_.shape, scales_.data(),
                       target_.scales + strip * target_.shape.groups() * kStripRows);
  }

 private:
  const TileTarget& target_;
  std::vector<std::int8_t> q_;
  std::vector<bf16> scales_;
};

// Quantizes single rows; keeps the scratch they need.
class RowQuantizer {
 public:
  RowQuantizer(const TileShape& shape, const QuantizeOptions& options)
      : shape_(shape),
        search_(options.search == ScaleSearch::LeastSquareError),
        row_(static_cast<std::size_t>(shape.padded_columns)) {
    if (options.importance.empty()) return;
    const bool usable = std::ranges::all_of(
        options.importance, [](float value) { return std::isfinite(value) && value >= 0; });
    if (options.importance.size() != static_cast<std::size_t>(shape.columns) || !usable) {
      throw Error(ErrorCode::InvalidArgument, "quantize: importance of " +
                                                  std::to_string(options.importance.size()) +
                                                  " columns for " + std::to_string(shape.columns) +
                                                  ", or with negative or infinite values");
    }
    importance_.assign(options.importance.begin(), options.importance.end());
    importance_.resize(row_.size());
  }

  void run(const WeightRows& weight, std::int64_t index, std::int8_t* q, bf16* scales) {
    widen(weight, index);
    const quant::QuantizeRow job{.weights = row_.data(),
                                 .importance = importance_.empty() ? nullptr : importance_.data(),
                                 .columns = shape_.padded_columns,
                                 .group = shape_.type.group,
                                 .bits = shape_.type.bits,
                                 .search = search_,
                                 .scales = reinterpret_cast<std::uint16_t*>(scales),
                                 .q = q};
    if (!quantizer_.quantize_row(job)) {
      throw Error(ErrorCode::Corrupt, "quantize: row " + std::to_string(index) + " of " +
                                          shape_text(weight.rows, weight.columns) +
                                          " holds a NaN or an infinity");
    }
  }

 private:
  void widen(const WeightRows& weight, std::int64_t index) {
    const std::byte* from = weight.row(index);
    const auto* halves = reinterpret_cast<const std::uint16_t*>(from);
    if (weight.dtype == DType::F32) {
      std::memcpy(row_.data(), from, static_cast<std::size_t>(weight.columns) * sizeof(float));
    } else if (weight.dtype == DType::BF16) {
      quantizer_.widen_bf16(halves, weight.columns, row_.data());
    } else if (weight.dtype == DType::F16) {
      quantizer_.widen_f16(halves, weight.columns, row_.data());
    } else {
      throw Error(
          ErrorCode::Unsupported,
          "quantize: weights are " + std::string(name_of(weight.dtype)) + ", not F32, BF16 or F16");
    }
  }

  const TileShape& shape_;
  bool search_;
  std::vector<float> row_;  // zeros behind the columns
  std::vector<float> importance_;
  const quant::RowQuantizer& quantizer_ = quant::row_quantizer();
};

void check_compressed(const CompressedRows& weight, const TileShape& shape) {
  if (shape.type.bits != 4 || weight.columns % shape.type.group != 0 || weight.columns % 8 != 0) {
    throw Error(ErrorCode::Unsupported,
                "quantize: packed INT4 weights " + shape_text(weight.rows, weight.columns) +
                    " cannot become tiles of " + std::to_string(shape.type.bits) +
                    " bits in groups of " + std::to_string(shape.type.group));
  }
}

void take_compressed_row(const CompressedRows& weight, std::int64_t index, const TileShape& shape,
                         std::int8_t* q, bf16* scales) {
  const std::int32_t* packed = weight.packed + index * (weight.columns / 8);
  for (std::int64_t k = 0; k < weight.columns; ++k) {
    const auto word = static_cast<std::uint32_t>(packed[k / 8]);
    q[k] = static_cast<std::int8_t>(static_cast<int>((word >> (4 * (k % 8))) & 15U) - 8);
  }
  std::fill(q + weight.columns, q + shape.padded_columns, std::int8_t{0});
  const std::int64_t groups = weight.columns / shape.type.group;
  std::copy_n(weight.scales + index * groups, groups, scales);
  std::fill(scales + groups, scales + shape.groups(), bf16{});
}

// Calls row(builder, row of the matrix, row of the strip) for every row that exists.
template <class Row>
void build_strips(const TileTarget& target, std::int64_t first_strip, std::int64_t last_strip,
                  Row&& row) {
  StripBuilder builder(target);
  for (std::int64_t strip = first_strip; strip < last_strip; ++strip) {
    for (std::int64_t r = 0; r < kStripRows; ++r) {
      if (!row(builder, strip * kStripRows + r, r)) builder.clear_row(r);
    }
    builder.store(strip);
  }
}

}  // namespace

const std::byte* WeightRows::row(std::int64_t index) const {
  const std::size_t stride =
      row_bytes != 0 ? row_bytes : static_cast<std::size_t>(columns) * size_of(dtype);
  return data + static_cast<std::size_t>(index) * stride;
}

void quantize_strips(const WeightRows& weight, const TileTarget& target, std::int64_t first_strip,
                     std::int64_t last_strip, const QuantizeOptions& options) {
  check_strips(target.shape, first_strip, last_strip);
  check_matrix("weight", weight.rows, weight.columns, target.shape.rows, target.shape);
  RowQuantizer quantizer(target.shape, options);
  build_strips(target, first_strip, last_strip,
               [&](StripBuilder& builder, std::int64_t row, std::int64_t in_strip) {
                 if (row >= weight.rows) return false;
                 quantizer.run(weight, row, builder.q(in_strip), builder.scales(in_strip));
                 return true;
               });
}

void quantize_w13_strips(const WeightRows& gate, const WeightRows& up, const TileTarget& target,
                         std::int64_t first_strip, std::int64_t last_strip,
                         const QuantizeOptions& options) {
  check_strips(target.shape, first_strip, last_strip);
  check_pair("gate and up", gate.rows, up.rows, target.shape);
  check_matrix("gate", gate.rows, gate.columns, gate.rows, target.shape);
  check_matrix("up", up.rows, up.columns, up.rows, target.shape);
  RowQuantizer quantizer(target.shape, options);
  build_strips(target, first_strip, last_strip,
               [&](StripBuilder& builder, std::int64_t row, std::int64_t in_strip) {
                 const W13Row source = w13_row(row);
                 if (source.row >= gate.rows) return false;
                 quantizer.run(source.up ? up : gate, source.row, builder.q(in_strip),
                               builder.scales(in_strip));
                 return true;
               });
}

void repack_strips(const CompressedRows& weight, const TileTarget& target, std::int64_t first_strip,
                   std::int64_t last_strip) {
  check_strips(target.shape, first_strip, last_strip);
  check_matrix("weight", weight.rows, weight.columns, target.shape.rows, target.shape);
  check_compressed(weight, target.shape);
  build_strips(target, first_strip, last_strip,
               [&](StripBuilder& builder, std::int64_t row, std::int64_t in_strip) {
                 if (row >= weight.rows) return false;
                 take_compressed_row(weight, row, target.shape, builder.q(in_strip),
                                     builder.scales(in_strip));
                 return true;
               });
}

void repack_w13_strips(const CompressedRows& gate, const CompressedRows& up,
                       const TileTarget& target, std::int64_t first_strip,
                       std::int64_t last_strip) {
  check_strips(target.shape, first_strip, last_strip);
  check_pair("gate and up", gate.rows, up.rows, target.shape);
  check_matrix("gate", gate.rows, gate.columns, gate.rows, target.shape);
  check_matrix("up", up.rows, up.columns, up.rows, target.shape);
  check_compressed(gate, target.shape);
  build_strips(target, first_strip, last_strip,
               [&](StripBuilder& builder, std::int64_t row, std::int64_t in_strip) {
                 const W13Row source = w13_row(row);
                 if (source.row >= gate.rows) return false;
                 take_compressed_row(source.up ? up : gate, source.row, target.shape,
                                     builder.q(in_strip), builder.scales(in_strip));
                 return true;
               });
}

}  // namespace krasis
