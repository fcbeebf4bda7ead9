#include <cmath>

#include "ops/check.h"
#include "ops/elementwise.h"
#include "ops/rotary.h"

namespace krasis {
namespace {

using ops_check::distinct;
using ops_check::in_place;
using ops_check::InPlace;
using ops_check::require;
using ops_check::row_of;
using ops_check::shape_of;

std::string count_of(std::span<const float> values) {
  return "[" + std::to_string(values.size()) + "]";
}

bool same_shape(const Rows& a, const Rows& b) {
  return a.rows == b.rows && a.cols == b.cols;
}

void require_eps(const char* operation, float eps) {
  require(std::isfinite(eps) && eps > 0, operation,
          [&] { return "eps is " + std::to_string(eps) + ", not finite and above 0"; });
}

}  // namespace

void check_shapes(const Embedding& op) {
  constexpr const char* kName = "embedding";
  ops_check::rows(kName, "out", op.out);
  ops_check::matrix(kName, "table", op.table);
  const auto tokens = static_cast<std::int64_t>(op.ids.size());
  require(op.table.format != Matrix::Format::Tiles, kName,
          [] { return "table is tiles, only F32, BF16 and F16 can be looked up"; });
  require(op.out.rows == tokens && op.out.cols == op.table.columns, kName, [&] {
    return "ids [" + std::to_string(tokens) + "], table " + shape_of(op.table) + ", out " +
           shape_of(op.out) + " do not fit together";
  });
}

void check_ids(const char* operation, std::span<const std::int32_t> ids, std::int64_t count,
               std::int64_t least) {
  for (const std::int32_t id : ids) {
    require(id >= least && id < count, operation, [&] {
      return "id " + std::to_string(id) + " is not in [" + std::to_string(least) + ", " +
             std::to_string(count) + ")";
    });
  }
}

void check(const Embedding& op) {
  check_shapes(op);
  check_ids("embedding", op.ids, op.table.rows);
}

void check(const RmsNorm& op) {
  constexpr const char* kName = "rms_norm";
  ops_check::rows(kName, "x", op.x);
  ops_check::product_rows(kName, "out", op.out);
  const bool fits = same_shape(op.x, op.out) && op.x.cols > 0 &&
                    static_cast<std::int64_t>(op.weight.size()) == op.x.cols;
  require(fits, kName, [&] {
    return "x " + shape_of(op.x) + ", weight " + count_of(op.weight) + ", out " + shape_of(op.out) +
           " do not fit together";
  });
  require_eps(kName, op.eps);
  distinct(kName, "out", op.out, "x", op.x, in_place(op.out));
  distinct(kName, "out", op.out, "weight", row_of(op.weight), InPlace::No);
}

void check(const GatedRmsNorm& op) {
  constexpr const char* kName = "gated_rms_norm";
  ops_check::rows(kName, "x", op.x);
  ops_check::rows(kName, "gate", op.gate);
  ops_check::product_rows(kName, "out", op.out);
  const bool fits = same_shape(op.x, op.out) && same_shape(op.x, op.gate) && op.x.cols > 0 &&
                    static_cast<std::int64_t>(op.weight.size()) == op.x.cols;
  require(fits, kName, [&] {
    return "x " + shape_of(op.x) + ", gate " + shape_of(op.gate) + ", weight " +
           count_of(op.weight) + ", out " + shape_of(op.out) + " do not fit together";
  });
  require_eps(kName, op.eps);
  distinct(kName, "out", op.out, "x", op.x, in_place(op.out));
  distinct(kName, "out", op.out, "gate", op.gate, InPlace::No);
  distinct(kName, "out", op.out, "weight", row_of(op.weight), InPlace::No);
}

void check(const AddNorm& op) {
  constexpr const char* kName = "add_norm";
  ops_check::rows(kName, "x", op.x);
  ops_check::rows(kName, "y", op.y);
  ops_check::rows(kName, "z", op.z);
  ops_check::rows(kName, "sum", op.sum);
  ops_check::product_rows(kName, "out", op.out);
  const bool fits = same_shape(op.x, op.y) && (op.z.rows == 0 || same_shape(op.x, op.z)) &&
                    same_shape(op.x, op.sum) && same_shape(op.x, op.out) && op.x.cols > 0 &&
                    static_cast<std::int64_t>(op.weight.size()) == op.x.cols;
  require(fits, kName, [&] {
    return "x " + shape_of(op.x) + ", y " + shape_of(op.y) + ", z " + shape_of(op.z) + ", weight " +
           count_of(op.weight) + ", sum " + shape_of(op.sum) + ", out " + shape_of(op.out) +
           " do not fit together";
  });
  require_eps(kName, op.eps);
  distinct(kName, "sum", op.sum, "x", op.x, InPlace::Yes);
  distinct(kName, "sum", op.sum, "out", op.out, InPlace::No);
  distinct(kName, "out", op.out, "x", op.x, InPlace::No);
  for (const MutableRows& result : {op.sum, MutableRows(op.out)}) {
    const char* const name = result.data == op.sum.data ? "sum" : "out";
    distinct(kName, name, result, "y", op.y, InPlace::No);
    distinct(kName, name, result, "z", op.z, InPlace::No);
    distinct(kName, name, result, "weight", row_of(op.weight), InPlace::No);
  }
}

void check(const Add& op) {
  constexpr const char* kName = "add";
  ops_check::rows(kName, "x", op.x);
  ops_check::rows(kName, "y", op.y);
  ops_check::rows(kName, "z", op.z);
  ops_check::rows(kName, "out", op.out);
  const bool fits = same_shape(op.x, op.y) && same_shape(op.x, op.out) &&
                    (op.z.rows == 0 || same_shape(op.x, op.z));
  require(fits, kName, [&] {
    return "x " + shape_of(op.x) + ", y " + shape_of(op.y) + ", z " + shape_of(op.z) + ", out " +
           shape_of(op.out) + " do not fit together";
  });
  distinct(kName, "out", op.out, "x", op.x, InPlace::Yes);
  distinct(kName, "out", op.out, "y", op.y, InPlace::Yes);
  distinct(kName, "out", op.out, "z", op.z, InPlace::Yes);
}

void check(const Copy& op) {
  constexpr const char* kName = "copy";
  ops_check::rows(kName, "x", op.x);
  ops_check::rows(kName, "out", op.out);
  require(same_shape(op.x, op.out), kName, [&] {
    return "x " + shape_of(op.x) + ", out " + shape_of(op.out) + " do not fit together";
  });
  distinct(kName, "out", op.out, "x", op.x, InPlace::No);
}

void check(const SigmoidMultiply& op) {
  constexpr const char* kName = "sigmoid_multiply";
  ops_check::rows(kName, "x", op.x);
  ops_check::rows(kName, "gate", op.gate);
  ops_check::product_rows(kName, "out", op.out);
  const bool fits = same_shape(op.x, op.out) && op.gate.rows == op.x.rows &&
                    (op.gate.cols == op.x.cols || op.gate.cols == 1);
  require(fits, kName, [&] {
    return "x " + shape_of(op.x) + ", gate " + shape_of(op.gate) + ", out " + shape_of(op.out) +
           " do not fit together";
  });
  distinct(kName, "out", op.out, "x", op.x, in_place(op.out));
  distinct(kName, "out", op.out, "gate", op.gate, InPlace::No);
}

void check_shapes(const RotaryTable& op) {
  constexpr const char* kName = "rotary_table";
  ops_check::rows(kName, "cosine", op.cosine);
  ops_check::rows(kName, "sine", op.sine);
  const auto tokens = static_cast<std::int64_t>(op.positions.size());
  const auto half = static_cast<std::int64_t>(op.frequencies.size());
  require(same_shape(op.cosine, op.sine) && op.cosine.rows == tokens && op.cosine.cols == half,
          kName, [&] {
            return "positions [" + std::to_string(tokens) + "], frequencies [" +
                   std::to_string(half) + "], cosine " + shape_of(op.cosine) + ", sine " +
                   shape_of(op.sine) + " do not fit together";
          });
  require(std::isfinite(op.scale), kName, [] { return "scale is not finite"; });
  distinct(kName, "cosine", op.cosine, "sine", op.sine, InPlace::No);
  distinct(kName, "cosine", op.cosine, "frequencies", row_of(op.frequencies), InPlace::No);
  distinct(kName, "sine", op.sine, "frequencies", row_of(op.frequencies), InPlace::No);
}

void check_positions(std::span<const std::int32_t> positions) {
  for (const std::int32_t position : positions) {
    require(position >= 0, "rotary_table",
            [&] { return "position " + std::to_string(position) + " is negative"; });
  }
}

void check(const RotaryTable& op) {
  check_shapes(op);
  check_positions(op.positions);
}

void check(const Rotary& op) {
  constexpr const char* kName = "rotary";
  ops_check::rows(kName, "x", op.x);
  ops_check::rows(kName, "cosine", op.cosine);
  ops_check::rows(kName, "sine", op.sine);
  // cols / 2 is compared, not cols: 2 * cols of the table could overflow.
  ops_check::rows(kName, "out", op.out);
  const bool fits = op.heads > 0 && same_shape(op.cosine, op.sine) && same_shape(op.x, op.out) &&
                    op.x.cols % 2 == 0 && op.x.cols / 2 == op.cosine.cols &&
                    op.x.rows % op.heads == 0 && op.x.rows / op.heads == op.cosine.rows;
  require(fits, kName, [&] {
    return "x " + shape_of(op.x) + ", cosine " + shape_of(op.cosine) + ", sine " +
           shape_of(op.sine) + ", out " + shape_of(op.out) + ", " + std::to_string(op.heads) +
           " heads do not fit together";
  });
  distinct(kName, "out", op.out, "x", op.x, InPlace::Yes);
  distinct(kName, "out", op.out, "cosine", op.cosine, InPlace::No);
  distinct(kName, "out", op.out, "sine", op.sine, InPlace::No);
}

}  // namespace krasis
