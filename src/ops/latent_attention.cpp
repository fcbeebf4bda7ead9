#include "ops/latent_attention.h"

#include "ops/check.h"

namespace krasis {

HeadLinear absorb_queries(const AttentionOverLatents& op) {
  return {.x = op.queries,
          .weight = op.key_up,
          .heads = op.heads,
          .out = op.absorbed.columns(0, op.kv.value_dim)};
}

Attention attend_latents(const AttentionOverLatents& op) {
  return {.queries = op.absorbed,
          .kv = op.kv,
          .segments = op.segments,
          .heads = op.heads,
          .scale = op.scale,
          .out = op.mixed};
}

HeadLinear raise_values(const AttentionOverLatents& op) {
  return {.x = op.mixed, .weight = op.value_up, .heads = op.heads, .out = op.out};
}

void check(const AttentionOverLatents& op) {
  constexpr const char* kName = "attention_over_latents";
  ops_check::require(op.kv.values == nullptr, kName, [] { return "the cache has values"; });
  ops_check::require(op.absorbed.cols == op.kv.key_dim && op.mixed.cols == op.kv.value_dim &&
                         op.kv.value_dim > 0 && op.kv.value_dim <= op.kv.key_dim,
                     kName, [&] {
                       return "absorbed " + ops_check::shape_of(op.absorbed) + ", mixed " +
                              ops_check::shape_of(op.mixed) + ", a cache of " +
                              std::to_string(op.kv.key_dim) + " numbers, " +
                              std::to_string(op.kv.value_dim) +
                              " of them a latent, do not fit together";
                     });
  check(absorb_queries(op));
  check(attend_latents(op));
  check(raise_values(op));
  using ops_check::InPlace;
  const Rows rotated = op.absorbed.columns(op.kv.value_dim, op.kv.key_dim - op.kv.value_dim);
  ops_check::distinct(kName, "out", op.out, "queries", op.queries, InPlace::No);
  ops_check::distinct(kName, "out", op.out, "absorbed", rotated, InPlace::No);
  ops_check::distinct(kName, "mixed", op.mixed, "queries", op.queries, InPlace::No);
}

}  // namespace krasis
