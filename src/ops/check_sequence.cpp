#include <cmath>

#include "ops/attention.h"
#include "ops/check.h"
#include "ops/delta_net.h"

namespace krasis {
namespace {

using ops_check::distinct;
using ops_check::InPlace;
using ops_check::require;
using ops_check::row_of;
using ops_check::shape_of;

std::string text_of(const PagedKv& kv) {
  return "[pages " + std::to_string(kv.pages) + ", kv_heads " + std::to_string(kv.kv_heads) +
         ", page_tokens " + std::to_string(kv.page_tokens) + ", key_dim " +
         std::to_string(kv.key_dim) + ", value_dim " + std::to_string(kv.value_dim) + "]";
}

// The product of sizes, or -1 if it overflows or one is negative.
std::int64_t product(std::initializer_list<std::int64_t> sizes) {
  std::int64_t all = 1;
  for (const std::int64_t size : sizes) {
    if (size < 0 || __builtin_mul_overflow(all, size, &all)) return -1;
  }
  return all;
}

void check_cache(const char* operation, const PagedKv& kv) {
  const bool sizes_fit = kv.page_tokens > 0 && kv.kv_heads > 0 && kv.key_dim > 0 &&
                         kv.value_dim > 0 &&
                         product({kv.pages, kv.kv_heads, kv.page_tokens, kv.key_dim, 8}) >= 0 &&
                         product({kv.pages, kv.kv_heads, kv.page_tokens, kv.value_dim, 8}) >= 0;
  require(sizes_fit, operation, [&] { return "cache " + text_of(kv) + " has impossible sizes"; });
  require(kv.dtype == DType::BF16 || kv.dtype == DType::F8E4M3 || kv.dtype == DType::F32, operation,
          [&] {
            return "cache of " + std::string(name_of(kv.dtype)) +
                   ", only BF16, F8_E4M3 and F32 can be read";
          });
  require(kv.keys != nullptr || kv.pages == 0, operation,
          [&] { return "cache " + text_of(kv) + " has no data"; });
  require(kv.values != nullptr || kv.value_dim <= kv.key_dim, operation,
          [&] { return "cache " + text_of(kv) + " has no values and keys shorter than a value"; });
}

// Pages for all tokens of every segment, past and new.
void check_pages(const char* operation, const PagedKv& kv, std::span<const Segment> segments) {
  for (std::size_t s = 0; s < segments.size(); ++s) {
    const Segment& segment = segments[s];
    if (segment.rows == 0) continue;
    const std::int64_t tokens = segment.past + segment.rows;
    const std::int64_t needed = (tokens + kv.page_tokens - 1) / kv.page_tokens;
    require(static_cast<std::int64_t>(segment.pages.size()) >= needed, operation, [&] {
      return "segment " + std::to_string(s) + " has " + std::to_string(segment.pages.size()) +
             " pages of " + std::to_string(kv.page_tokens) + " for " + std::to_string(tokens) +
             " tokens";
    });
    for (const std::int32_t page : segment.pages.first(static_cast<std::size_t>(needed))) {
      require(page >= 0 && page < kv.pages, operation, [&] {
        return "page " + std::to_string(page) + " of segment " + std::to_string(s) +
               " is not in [0, " + std::to_string(kv.pages) + ")";
      });
    }
  }
}

}  // namespace

void check(const KvAppend& op) {
  constexpr const char* kName = "kv_append";
  ops_check::rows(kName, "keys", op.keys);
  ops_check::rows(kName, "values", op.values);
  check_cache(kName, op.kv);
  const bool values_fit = op.kv.values == nullptr
                              ? op.values.rows == 0
                              : op.values.rows == op.keys.rows &&
                                    (op.values.cols == op.kv.value_dim || op.values.rows == 0);
  const bool fits = (op.keys.cols == op.kv.key_dim || op.keys.rows == 0) &&
                    op.keys.rows % op.kv.kv_heads == 0 && values_fit;
  require(fits, kName, [&] {
    return "keys " + shape_of(op.keys) + ", values " + shape_of(op.values) + ", cache " +
           text_of(op.kv) + (op.kv.values == nullptr ? " without values" : "") +
           " do not fit together";
  });
  ops_check::segments(kName, op.segments, op.keys.rows / op.kv.kv_heads);
  check_pages(kName, op.kv, op.segments);
}

void check(const Attention& op) {
  constexpr const char* kName = "attention";
  ops_check::rows(kName, "queries", op.queries);
  ops_check::rows(kName, "out", op.out);
  check_cache(kName, op.kv);
  const bool fits = op.heads > 0 && op.heads % op.kv.kv_heads == 0 &&
                    op.queries.rows % op.heads == 0 && op.queries.rows == op.out.rows &&
                    (op.queries.rows == 0 ||
                     (op.queries.cols == op.kv.key_dim && op.out.cols == op.kv.value_dim));
  require(fits, kName, [&] {
    return "queries " + shape_of(op.queries) + ", out " + shape_of(op.out) + ", " +
           std::to_string(op.heads) + " heads, cache " + text_of(op.kv) + " do not fit together";
  });
  require(std::isfinite(op.scale), kName, [] { return "scale is not finite"; });
  ops_check::segments(kName, op.segments, op.queries.rows / op.heads);
  check_pages(kName, op.kv, op.segments);
  distinct(kName, "out", op.out, "queries", op.queries, InPlace::No);
}

void check(const CausalConv& op) {
  constexpr const char* kName = "causal_conv";
  ops_check::rows(kName, "x", op.x);
  ops_check::rows(kName, "out", op.out);
  const auto weights = static_cast<std::int64_t>(op.weight.size());
  const bool fits = op.width > 0 && op.x.rows == op.out.rows &&
                    (op.x.rows == 0 || (op.x.cols == op.out.cols && op.x.cols > 0 &&
                                        product({op.x.cols, op.width}) == weights));
  require(fits, kName, [&] {
    return "x " + shape_of(op.x) + ", weight [" + std::to_string(weights) + "] of width " +
           std::to_string(op.width) + ", out " + shape_of(op.out) + " do not fit together";
  });
  require(op.slots >= 0 && product({op.slots, op.width, op.x.cols, 8}) >= 0, kName,
          [&] { return std::to_string(op.slots) + " slots are impossible"; });
  require(op.state != nullptr || op.slots == 0 || op.width == 1, kName,
          [] { return "state has no data"; });
  ops_check::segments(kName, op.segments, op.x.rows);
  ops_check::slots(kName, op.segments, op.slots);
  distinct(kName, "out", op.out, "x", op.x, InPlace::No);
  distinct(kName, "out", op.out, "weight", row_of(op.weight), InPlace::No);
}

void check(const DeltaGates& op) {
  constexpr const char* kName = "delta_gates";
  ops_check::rows(kName, "a", op.a);
  ops_check::rows(kName, "b", op.b);
  ops_check::rows(kName, "log_decay", op.log_decay);
  ops_check::rows(kName, "beta", op.beta);
  const auto heads = static_cast<std::int64_t>(op.a_log.size());
  const auto has_shape = [&](const Rows& rows) {
    return rows.rows == op.a.rows && (rows.cols == heads || rows.rows == 0);
  };
  const bool fits = has_shape(op.a) && has_shape(op.b) && has_shape(op.log_decay) &&
                    has_shape(op.beta) && op.dt_bias.size() == op.a_log.size();
  require(fits, kName, [&] {
    return "a " + shape_of(op.a) + ", b " + shape_of(op.b) + ", a_log [" + std::to_string(heads) +
           "], dt_bias [" + std::to_string(op.dt_bias.size()) + "], log_decay " +
           shape_of(op.log_decay) + ", beta " + shape_of(op.beta) + " do not fit together";
  });
  distinct(kName, "log_decay", op.log_decay, "a", op.a, InPlace::Yes);
  distinct(kName, "log_decay", op.log_decay, "b", op.b, InPlace::No);
  distinct(kName, "beta", op.beta, "a", op.a, InPlace::No);
  distinct(kName, "beta", op.beta, "b", op.b, InPlace::Yes);
  distinct(kName, "beta", op.beta, "log_decay", op.log_decay, InPlace::No);
}

void check(const DeltaNet& op) {
  constexpr const char* kName = "delta_net";
  ops_check::rows(kName, "q", op.q);
  ops_check::rows(kName, "k", op.k);
  ops_check::rows(kName, "v", op.v);
  ops_check::rows(kName, "log_decay", op.log_decay);
  ops_check::rows(kName, "beta", op.beta);
  ops_check::rows(kName, "out", op.out);
  require(op.key_heads > 0 && op.value_heads > 0 && op.value_heads % op.key_heads == 0 &&
              op.key_dim > 0 && op.value_dim > 0 && op.slots >= 0 &&
              product({op.slots, op.value_heads, op.key_dim, op.value_dim, 8}) >= 0,
          kName, [&] {
            return std::to_string(op.key_heads) + " key heads of " + std::to_string(op.key_dim) +
                   ", " + std::to_string(op.value_heads) + " value heads of " +
                   std::to_string(op.value_dim) + ", " + std::to_string(op.slots) +
                   " slots are impossible";
          });
  const auto has_shape = [&](const Rows& rows, std::int64_t cols) {
    return rows.rows == op.q.rows && (rows.cols == cols || rows.rows == 0);
  };
  const std::int64_t key_cols = product({op.key_heads, op.key_dim});
  const std::int64_t value_cols = product({op.value_heads, op.value_dim});
  const bool fits = has_shape(op.q, key_cols) && has_shape(op.k, key_cols) &&
                    has_shape(op.v, value_cols) && has_shape(op.out, value_cols) &&
                    has_shape(op.log_decay, op.value_heads) && has_shape(op.beta, op.value_heads);
  require(fits, kName, [&] {
    return "q " + shape_of(op.q) + ", k " + shape_of(op.k) + ", v " + shape_of(op.v) +
           ", log_decay " + shape_of(op.log_decay) + ", beta " + shape_of(op.beta) + ", out " +
           shape_of(op.out) + " do not fit together";
  });
  require(op.state != nullptr || op.slots == 0, kName, [] { return "state has no data"; });
  ops_check::segments(kName, op.segments, op.q.rows);
  ops_check::slots(kName, op.segments, op.slots);
  distinct(kName, "out", op.out, "q", op.q, InPlace::No);
  distinct(kName, "out", op.out, "k", op.k, InPlace::No);
  distinct(kName, "out", op.out, "v", op.v, InPlace::No);
  distinct(kName, "out", op.out, "log_decay", op.log_decay, InPlace::No);
  distinct(kName, "out", op.out, "beta", op.beta, InPlace::No);
}

}  // namespace krasis
