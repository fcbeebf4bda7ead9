#include "model/state.h"

#include <cstring>
#include <gtest/gtest.h>

#include "base/error.h"

namespace krasis {
namespace {

GroupedQueryAttention grouped() {
  GroupedQueryAttention mixer;
  mixer.heads = 4;
  mixer.kv_heads = 2;
  mixer.head_dim = 16;
  return mixer;
}
LatentAttention latent() {
  LatentAttention mixer;
  mixer.heads = 4;
  mixer.kv_lora_rank = 24;
  mixer.rope_dim = 8;
  return mixer;
}
constexpr GatedDeltaNet kDeltaNet = {
    .key_heads = 2, .value_heads = 4, .key_dim = 8, .value_dim = 6, .conv_width = 4};

ModelSpec spec_of(std::vector<Mixer> mixers) {
  ModelSpec spec;
  for (const Mixer& mixer : mixers) spec.layers.push_back({mixer, DenseFfn{}});
  return spec;
}

TEST(ModelState, CountsBytesOfPagesAndSlots) {
  const ModelSpec spec = spec_of({grouped(), latent(), kDeltaNet});
  // Keys and values of 2 heads of 16, and one latent row of 32 a token.
  const std::size_t numbers_a_token = 2 * 2 * 16 + 32;
  EXPECT_EQ(page_bytes(spec, {.page_tokens = 64, .kv_type = DType::BF16}),
            64 * numbers_a_token * 2);
  EXPECT_EQ(page_bytes(spec, {.page_tokens = 64, .kv_type = DType::F8E4M3}), 64 * numbers_a_token);
  EXPECT_EQ(page_bytes(spec, {.page_tokens = 16, .kv_type = DType::F32}), 16 * numbers_a_token * 4);
  // Three inputs of 2 * 2 * 8 + 4 * 6 channels, and 4 heads of 8 x 6.
  EXPECT_EQ(slot_bytes(spec), (3 * 56 + 4 * 48) * sizeof(float));
}

TEST(ModelState, GivesEveryLayerItsOwnMemory) {
  const ModelSpec spec = spec_of({grouped(), kDeltaNet, latent(), kDeltaNet, grouped()});
  const ModelState state(spec, {.pages = 3, .page_tokens = 4, .slots = 2, .kv_type = DType::F32},
                         host_memory());
  std::vector<std::pair<std::byte*, std::size_t>> parts;
  for (const std::int64_t layer : {0, 2, 4}) {
    const PagedKv kv = state.kv(layer);
    const auto tokens = static_cast<std::size_t>(3 * 4 * kv.kv_heads);
    parts.emplace_back(kv.keys, tokens * static_cast<std::size_t>(kv.key_dim) * sizeof(float));
    if (kv.values != nullptr)
      parts.emplace_back(kv.values,
                         tokens * static_cast<std::size_t>(kv.value_dim) * sizeof(float));
  }
  for (const std::int64_t layer : {1, 3}) {
    const ModelState::Recurrent recurrent = state.recurrent(layer);
    parts.emplace_back(reinterpret_cast<std::byte*>(recurrent.conv), 2 * 3 * 56 * sizeof(float));
    parts.emplace_back(reinterpret_cast<std::byte*>(recurrent.delta), 2 * 4 * 48 * sizeof(float));
  }
  EXPECT_EQ(parts.size(), 9U);
  for (std::size_t i = 0; i < parts.size(); ++i)
    std::memset(parts[i].first, static_cast<int>(i + 1), parts[i].second);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    for (std::size_t byte = 0; byte < parts[i].second; ++byte)
      ASSERT_EQ(parts[i].first[byte], static_cast<std::byte>(i + 1)) << "part " << i;
  }
}

TEST(ModelState, KeepsOneRowATokenForLatentAttention) {
  const ModelState state(spec_of({latent()}), {.pages = 1}, host_memory());
  const PagedKv kv = state.kv(0);
  EXPECT_EQ(kv.values, nullptr);
  EXPECT_EQ(kv.kv_heads, 1);
  EXPECT_EQ(kv.key_dim, 32);
  EXPECT_EQ(kv.value_dim, 24);
  EXPECT_THROW(state.recurrent(0), Error);
}

TEST(ModelState, StaysInPlaceWhenItIsMoved) {
  ModelState state(spec_of({grouped()}), {.pages = 2}, host_memory());
  std::byte* const keys = state.kv(0).keys;
  const ModelState moved = std::move(state);
  EXPECT_EQ(moved.kv(0).keys, keys);
}

std::string refusal(const StateSize& size) {
  try {
    const ModelState state(spec_of({grouped()}), size, host_memory());
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ModelState, RefusesSizesThatMakeNoSense) {
  EXPECT_EQ(refusal({.pages = 1, .kv_type = DType::F16}),
            "state: a key-value cache of F16 is not run, only BF16, F8_E4M3 and F32");
  EXPECT_EQ(refusal({.pages = -1}), "state: -1 pages of 64 tokens and 1 slots are impossible");
  EXPECT_EQ(refusal({.pages = 1, .page_tokens = 0}),
            "state: 1 pages of 0 tokens and 1 slots are impossible");
  EXPECT_EQ(refusal({.pages = INT64_MAX / 2}),
            "state: more bytes than a processor can address; use fewer pages or slots");
}

}  // namespace
}  // namespace krasis
