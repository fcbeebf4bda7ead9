#include <algorithm>
#include <iterator>

#include "ops/reference.h"

namespace krasis::reference {
namespace {

// A segment's keys and values, of every head, as a cache of F32 with one page.
struct Expanded {
  std::vector<float> keys, values;
  PagedKv kv;
};

Expanded expand(const AttentionOverLatents& op, const Segment& segment) {
  const std::int64_t latent = op.kv.value_dim, rope = op.kv.key_dim - latent;
  const std::int64_t nope = op.queries.cols, value = op.out.cols;
  const std::int64_t tokens = segment.past + segment.rows;
  Expanded e;
  for (std::int64_t head = 0; head < op.heads; ++head) {
    for (std::int64_t token = 0; token < tokens; ++token) {
      std::vector<float> row(static_cast<std::size_t>(latent + rope));
      for (std::size_t i = 0; i < row.size(); ++i)
        row[i] =
            static_cast<float>(key_number(op.kv, segment, 0, token, static_cast<std::int64_t>(i)));
      const std::span<const float> c = std::span(row).first(static_cast<std::size_t>(latent));
      std::vector<double> key(static_cast<std::size_t>(nope));
      for (std::int64_t i = 0; i < latent; ++i) {
        for (std::int64_t n = 0; n < nope; ++n) {
          key[static_cast<std::size_t>(n)] +=
              element(op.key_up, head * latent + i, n) * double{c[static_cast<std::size_t>(i)]};
        }
      }
      const std::vector<double> raised = multiply(op.value_up, head * value, value, c);
      const auto narrow = [](double number) { return static_cast<float>(number); };
      std::ranges::transform(key, std::back_inserter(e.keys), narrow);
      e.keys.insert(e.keys.end(), row.end() - rope, row.end());
      std::ranges::transform(raised, std::back_inserter(e.values), narrow);
    }
  }
  e.kv = {.keys = reinterpret_cast<std::byte*>(e.keys.data()),
          .values = reinterpret_cast<std::byte*>(e.values.data()),
          .dtype = DType::F32,
          .pages = 1,
          .page_tokens = tokens,
          .kv_heads = op.heads,
          .key_dim = nope + rope,
          .value_dim = value};
  return e;
}

}  // namespace

void attention_over_latents(const AttentionOverLatents& op) {
  const std::int64_t latent = op.kv.value_dim, rope = op.kv.key_dim - latent;
  const std::int64_t nope = op.queries.cols;
  const std::int32_t page = 0;
  for (const Segment& segment : op.segments) {
    if (segment.rows == 0) continue;
    const Expanded expanded = expand(op, segment);
    const std::int64_t first = segment.first_row * op.heads, rows = segment.rows * op.heads;
    std::vector<float> queries(static_cast<std::size_t>(rows * (nope + rope)));
    const MutableRows joined(queries.data(), rows, nope + rope);
    for (std::int64_t r = 0; r < rows; ++r) {
      std::copy_n(op.queries.row(first + r), nope, joined.row(r));
      std::copy_n(op.absorbed.row(first + r) + latent, rope, joined.row(r) + nope);
    }
    const Segment alone = {
        .first_row = 0, .rows = segment.rows, .past = segment.past, .slot = 0, .pages = {&page, 1}};
    attention({.queries = joined,
               .kv = expanded.kv,
               .segments = {&alone, 1},
               .heads = op.heads,
               .scale = op.scale,
               .out = op.out.slice(first, rows)});
  }
}

}  // namespace krasis::reference
