#include <array>
#include <cmath>

#include "ops/check.h"
#include "ops/elementwise.h"
#include "ops/experts.h"
#include "ops/linear.h"

namespace krasis {
namespace {

using ops_check::distinct;
using ops_check::InPlace;
using ops_check::require;
using ops_check::row_of;
using ops_check::shape_of;

constexpr std::int64_t kInterleavePadding = 32;  // intermediate rows of w13 (ops/matrix.h)

std::string numbered(const char* name, std::int64_t expert) {
  return std::string(name) + " of expert " + std::to_string(expert);
}

void check_plain(const char* operation, const ExpertMatrices& matrices) {
  const Matrix::Format format = matrices.gate[0].format;
  require(format != Matrix::Format::Tiles, operation,
          [] { return "plain matrices are tiles, which belong in `tiled`"; });
  for (std::int64_t expert = 0; expert < matrices.experts; ++expert) {
    const auto check_one = [&](const char* name, const Matrix& matrix, std::int64_t rows,
                               std::int64_t columns) {
      const bool fits = matrix.rows == rows && matrix.columns == columns &&
                        matrix.format == format && matrix.data != nullptr;
      require(fits, operation, [&] {
        return numbered(name, expert) + " " + shape_of(matrix) + " is not [" +
               std::to_string(rows) + ", " + std::to_string(columns) +
               "] with data in the first one's format";
      });
    };
    check_one("gate", matrices.gate[expert], matrices.intermediate, matrices.hidden);
    check_one("up", matrices.up[expert], matrices.intermediate, matrices.hidden);
    check_one("down", matrices.down[expert], matrices.hidden, matrices.intermediate);
  }
}

void check_tiled(const char* operation, const ExpertMatrices& matrices) {
  const ExpertMatrices::Tiled& tiled = *matrices.tiled;
  const std::int64_t padded =
      (matrices.intermediate + kInterleavePadding - 1) / kInterleavePadding * kInterleavePadding;
  const bool shapes_fit = tiled.w13.rows == 2 * padded && tiled.w13.columns == matrices.hidden &&
                          tiled.w2.rows == matrices.hidden &&
                          (tiled.w2.columns == matrices.intermediate || tiled.w2.columns == padded);
  require(shapes_fit, operation, [&] {
    return "w13 [" + std::to_string(tiled.w13.rows) + ", " + std::to_string(tiled.w13.columns) +
           "], w2 [" + std::to_string(tiled.w2.rows) + ", " + std::to_string(tiled.w2.columns) +
           "] are not of hidden " + std::to_string(matrices.hidden) + ", intermediate " +
           std::to_string(matrices.intermediate);
  });
  require(tiled.base != nullptr, operation, [] { return "tiles have no data"; });
  const auto inside = [&](std::size_t offset, std::size_t bytes) {
    return offset <= tiled.expert_bytes && bytes <= tiled.expert_bytes - offset;
  };
  require(inside(tiled.w13_tiles, tiled.w13.tile_bytes()) &&
              inside(tiled.w13_scales, tiled.w13.scale_bytes()) &&
              inside(tiled.w2_tiles, tiled.w2.tile_bytes()) &&
              inside(tiled.w2_scales, tiled.w2.scale_bytes()),
          operation, [&] {
            return "an expert's parts reach past its " + std::to_string(tiled.expert_bytes) +
                   " bytes";
          });
}

void check_matrices(const char* operation, const ExpertMatrices& matrices) {
  require(matrices.experts > 0 && matrices.hidden > 0 && matrices.intermediate > 0, operation, [&] {
    return std::to_string(matrices.experts) + " experts of hidden " +
           std::to_string(matrices.hidden) + ", intermediate " +
           std::to_string(matrices.intermediate) + " are not all above 0";
  });
  const bool any_plain =
      matrices.gate != nullptr || matrices.up != nullptr || matrices.down != nullptr;
  const bool all_plain =
      matrices.gate != nullptr && matrices.up != nullptr && matrices.down != nullptr;
  require(matrices.tiled.has_value() ? !any_plain : all_plain, operation,
          [] { return "matrices are not either tiles or gate, up and down"; });
  if (matrices.tiled.has_value()) {
    check_tiled(operation, matrices);
  } else {
    check_plain(operation, matrices);
  }
}

}  // namespace

void check(const Linear& op) {
  constexpr const char* kName = "linear";
  ops_check::product_rows(kName, "x", op.x);
  ops_check::rows(kName, "out", op.out);
  ops_check::matrix(kName, "weight", op.weight);
  const bool fits =
      op.x.rows == op.out.rows && op.x.cols == op.weight.columns && op.out.cols == op.weight.rows &&
      (op.bias.empty() || static_cast<std::int64_t>(op.bias.size()) == op.weight.rows);
  require(fits, kName, [&] {
    return "x " + shape_of(op.x) + ", weight " + shape_of(op.weight) + ", bias [" +
           std::to_string(op.bias.size()) + "], out " + shape_of(op.out) + " do not fit together";
  });
  distinct(kName, "out", op.out, "x", op.x, InPlace::No);
  distinct(kName, "out", op.out, "bias", row_of(op.bias), InPlace::No);
}

void check(const HeadLinear& op) {
  constexpr const char* kName = "head_linear";
  ops_check::rows(kName, "x", op.x);
  ops_check::rows(kName, "out", op.out);
  ops_check::matrix(kName, "weight", op.weight);
  const bool fits = op.heads > 0 && op.x.rows == op.out.rows && op.x.rows % op.heads == 0 &&
                    op.x.cols == op.weight.columns && op.weight.rows % op.heads == 0 &&
                    op.weight.rows / op.heads == op.out.cols;
  require(fits, kName, [&] {
    return "x " + shape_of(op.x) + ", weight " + shape_of(op.weight) + ", " +
           std::to_string(op.heads) + " heads, out " + shape_of(op.out) + " do not fit together";
  });
  require(op.weight.format != Matrix::Format::Tiles || op.out.cols % kStripRows == 0, kName, [&] {
    return "tiles with " + std::to_string(op.out.cols) + " rows a head, not a multiple of " +
           std::to_string(kStripRows);
  });
  distinct(kName, "out", op.out, "x", op.x, InPlace::No);
}

void check(const Route& op) {
  constexpr const char* kName = "route";
  ops_check::rows(kName, "logits", op.logits);
  const Routing& r = op.routing;
  require(r.experts > 0 && r.top_k > 0 && r.top_k <= r.experts, kName, [&] {
    return "top " + std::to_string(r.top_k) + " of " + std::to_string(r.experts) +
           " experts cannot be chosen";
  });
  const bool groups_fit = r.groups > 0 && r.experts % r.groups == 0 && r.top_groups > 0 &&
                          r.top_groups <= r.groups &&
                          r.top_k <= r.top_groups * (r.experts / r.groups);
  require(groups_fit, kName, [&] {
    return "top " + std::to_string(r.top_k) + " of " + std::to_string(r.experts) +
           " experts in the best " + std::to_string(r.top_groups) + " of " +
           std::to_string(r.groups) + " groups cannot be chosen";
  });
  require(std::isfinite(r.scale), kName, [] { return "scale is not finite"; });
  // Division, since tokens * top_k could overflow.
  const auto chosen = [&](std::size_t count) {
    return count % static_cast<std::size_t>(r.top_k) == 0 &&
           static_cast<std::int64_t>(count) / r.top_k == op.logits.rows;
  };
  const bool fits = (op.logits.cols == r.experts || op.logits.rows == 0) && chosen(op.ids.size()) &&
                    chosen(op.weights.size()) &&
                    (op.bias.empty() || static_cast<std::int64_t>(op.bias.size()) == r.experts);
  require(fits, kName, [&] {
    return "logits " + shape_of(op.logits) + ", bias [" + std::to_string(op.bias.size()) +
           "], ids [" + std::to_string(op.ids.size()) + "], weights [" +
           std::to_string(op.weights.size()) + "], top " + std::to_string(r.top_k) + " of " +
           std::to_string(r.experts) + " experts do not fit together";
  });
  const MutableRows weights{op.weights.data(), 1, static_cast<std::int64_t>(op.weights.size())};
  distinct(kName, "weights", weights, "logits", op.logits, InPlace::No);
  distinct(kName, "weights", weights, "bias", row_of(op.bias), InPlace::No);
}

void check_shapes(const Experts& op) {
  constexpr const char* kName = "experts";
  ops_check::product_rows(kName, "x", op.x);
  ops_check::rows(kName, "out", op.out);
  check_matrices(kName, op.matrices);
  const auto chosen = [&](std::size_t count) {
    return count % static_cast<std::size_t>(op.top_k) == 0 &&
           static_cast<std::int64_t>(count) / op.top_k == op.x.rows;
  };
  const bool fits = op.top_k > 0 && chosen(op.ids.size()) && chosen(op.weights.size()) &&
                    op.x.rows == op.out.rows && op.x.cols == op.matrices.hidden &&
                    op.out.cols == op.matrices.hidden;
  require(fits, kName, [&] {
    return "x " + shape_of(op.x) + ", ids [" + std::to_string(op.ids.size()) + "], weights [" +
           std::to_string(op.weights.size()) + "], top " + std::to_string(op.top_k) + ", hidden " +
           std::to_string(op.matrices.hidden) + ", out " + shape_of(op.out) +
           " do not fit together";
  });
  distinct(kName, "out", op.out, "x", op.x, InPlace::No);
  distinct(kName, "out", op.out, "weights", row_of(op.weights), InPlace::No);
}

void check(const Experts& op) {
  check_shapes(op);
  check_ids("experts", op.ids, op.matrices.experts, op.matrices.experts == 1 ? 0 : -1);
}

}  // namespace krasis
