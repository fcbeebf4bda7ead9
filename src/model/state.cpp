#include "model/state.h"

#include <atomic>
#include <fmt/format.h>

#include "base/error.h"

namespace krasis {
namespace {

constexpr std::size_t kPartAlignment = 4096;  // of each layer's parts

// What a layer keeps. Numbers of elements of one page, and F32 numbers of one slot.
struct Extent {
  std::int64_t kv_heads = 0, key_dim = 0, value_dim = 0;  // value_dim as attention sees it
  bool values = false;                                    // stored apart from the keys
  std::int64_t conv = 0, delta = 0;

  std::int64_t key_elements(const StateSize& size) const {
    return kv_heads * size.page_tokens * key_dim;
  }
  std::int64_t value_elements(const StateSize& size) const {
    return values ? kv_heads * size.page_tokens * value_dim : 0;
  }
};

Extent extent_of(const GroupedQueryAttention& mixer) {
  return {.kv_heads = mixer.kv_heads,
          .key_dim = mixer.head_dim,
          .value_dim = mixer.head_dim,
          .values = true};
}

Extent extent_of(const LatentAttention& mixer) {
  return {.kv_heads = 1,
          .key_dim = mixer.kv_lora_rank + mixer.rope_dim,
          .value_dim = mixer.kv_lora_rank};
}

Extent extent_of(const GatedDeltaNet& mixer) {
  const std::int64_t channels =
      2 * mixer.key_heads * mixer.key_dim + mixer.value_heads * mixer.value_dim;
  return {.conv = (mixer.conv_width - 1) * channels,
          .delta = mixer.value_heads * mixer.key_dim * mixer.value_dim};
}

Extent extent_of(const LayerSpec& layer) {
  return std::visit([](const auto& mixer) { return extent_of(mixer); }, layer.mixer);
}

void check(const StateSize& size) {
  constexpr std::int64_t kMostPageTokens = 1 << 16;
  if (size.kv_type != DType::BF16 && size.kv_type != DType::F8E4M3 && size.kv_type != DType::F32) {
    throw Error(ErrorCode::Unsupported,
                fmt::format("state: a key-value cache of {} is not run, only BF16, F8_E4M3 and F32",
                            name_of(size.kv_type)));
  }
  if (size.pages < 0 || size.slots < 0 || size.page_tokens < 1 ||
      size.page_tokens > kMostPageTokens) {
    throw Error(ErrorCode::InvalidArgument,
                fmt::format("state: {} pages of {} tokens and {} slots are impossible", size.pages,
                            size.page_tokens, size.slots));
  }
}

std::uint64_t next_identity() {
  static std::atomic<std::uint64_t> last = 0;
  return ++last;
}

// Takes `count` pieces of `bytes` behind `end`; returns where they start.
std::size_t take(std::size_t& end, std::int64_t count, std::size_t bytes) {
  const std::size_t start = end;
  std::size_t all = 0;
  if (__builtin_mul_overflow(static_cast<std::size_t>(count), bytes, &all) ||
      __builtin_add_overflow(end, (all + kPartAlignment - 1) / kPartAlignment * kPartAlignment,
                             &end)) {
    throw Error(ErrorCode::OutOfMemory,
                "state: more bytes than a processor can address; use fewer pages or slots");
  }
  return start;
}

}  // namespace

std::size_t page_bytes(const ModelSpec& spec, const StateSize& size) {
  check(size);
  std::size_t bytes = 0;
  for (const LayerSpec& layer : spec.layers) {
    const Extent extent = extent_of(layer);
    bytes += static_cast<std::size_t>(extent.key_elements(size) + extent.value_elements(size)) *
             size_of(size.kv_type);
  }
  return bytes;
}

std::size_t slot_bytes(const ModelSpec& spec) {
  std::size_t bytes = 0;
  for (const LayerSpec& layer : spec.layers) {
    const Extent extent = extent_of(layer);
    bytes += static_cast<std::size_t>(extent.conv + extent.delta) * sizeof(float);
  }
  return bytes;
}

ModelState::ModelState(const ModelSpec& spec, const StateSize& size, Memory& memory)
    : size_(size), identity_(next_identity()) {
  check(size);
  std::size_t end = 0;
  const std::size_t element = size_of(size.kv_type);
  for (const LayerSpec& layer : spec.layers) {
    const Extent extent = extent_of(layer);
    Layer& part = layers_.emplace_back();
    if (extent.kv_heads > 0) {
      part.first_bytes =
          take(end, size.pages, static_cast<std::size_t>(extent.key_elements(size)) * element);
      part.second_bytes =
          take(end, size.pages, static_cast<std::size_t>(extent.value_elements(size)) * element);
    } else {
      part.first_bytes =
          take(end, size.slots, static_cast<std::size_t>(extent.conv) * sizeof(float));
      part.second_bytes =
          take(end, size.slots, static_cast<std::size_t>(extent.delta) * sizeof(float));
    }
  }
  buffer_ = memory.allocate(end);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Extent extent = extent_of(spec.layers[i]);
    if (extent.kv_heads == 0) continue;
    Layer& part = layers_[i];
    part.kv = {.keys = buffer_.data() + part.first_bytes,
               .values = extent.values ? buffer_.data() + part.second_bytes : nullptr,
               .dtype = size.kv_type,
               .pages = size.pages,
               .page_tokens = size.page_tokens,
               .kv_heads = extent.kv_heads,
               .key_dim = extent.key_dim,
               .value_dim = extent.value_dim};
  }
}

PagedKv ModelState::kv(std::int64_t layer) const {
  const Layer& part = layers_.at(static_cast<std::size_t>(layer));
  ensure(part.kv.kv_heads > 0, "state: this layer has no key-value cache");
  return part.kv;
}

ModelState::Recurrent ModelState::recurrent(std::int64_t layer) const {
  const Layer& part = layers_.at(static_cast<std::size_t>(layer));
  ensure(part.kv.kv_heads == 0, "state: this layer has no recurrent state");
  return {reinterpret_cast<float*>(buffer_.data() + part.first_bytes),
          reinterpret_cast<float*>(buffer_.data() + part.second_bytes)};
}

}  // namespace krasis
