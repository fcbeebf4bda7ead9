#include "budget/device_bytes.h"

#include <gtest/gtest.h>

namespace krasis {
namespace {

ModelSpec two_layers() {
  ModelSpec spec;
  spec.hidden = 64;
  spec.vocab = 1000;
  GroupedQueryAttention mixer;
  mixer.heads = 4;
  mixer.kv_heads = 2;
  mixer.head_dim = 16;
  SparseFfn sparse;
  sparse.intermediate = 32;
  sparse.routing.experts = 8;
  sparse.routing.top_k = 2;
  spec.layers = {{mixer, sparse}, {mixer, DenseFfn{.intermediate = 128}}};
  return spec;
}

TEST(DeviceBytes, CountsExpertsOfSparseLayersOnly) {
  EXPECT_EQ(expert_weight_bytes(two_layers(), {}), 8U * 3 * 64 * 32 * 2);
}

TEST(DeviceBytes, CountsEverythingElseWithTheEmbedding) {
  const std::uint64_t attention = 64 * (2 * 64 + 2 * 32);
  const std::uint64_t weights = 2 * attention + 3 * 64 * 128 + 64 * 8 + 2 * 64 * 1000;
  EXPECT_EQ(dense_weight_bytes(two_layers(), {}), 2 * weights);
}

TEST(DeviceBytes, CountsATiedHeadOnce) {
  ModelSpec spec = two_layers();
  const std::uint64_t both = dense_weight_bytes(spec, {});
  spec.tied_head = true;
  EXPECT_EQ(dense_weight_bytes(spec, {}), both - 2 * 64 * 1000);
  EXPECT_EQ(dense_weight_bytes(spec, {.lm_head = 1}), both - 64 * 1000);
}

TEST(DeviceBytes, CountsTheWidestLayersRows) {
  // Queries and their result, keys and values of one layer, and four rows of the residual stream.
  const std::uint64_t width = 4 * 64 + 2 * 64 + 2 * 32;
  EXPECT_EQ(workspace_bytes(two_layers(), 10), 2 * 10 * width * 4);
}

}  // namespace
}  // namespace krasis
