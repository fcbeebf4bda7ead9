#include "budget/remedy.h"

#include <fmt/format.h>
#include <vector>

namespace krasis {
namespace {

struct Change {
  std::string advice;
  PlanRequest request;
};

bool fits(const ModelSpec& spec, const PlanRequest& request) {
  return plan_if_it_fits(spec, request).has_value();
}

// The least room with these settings, in steps of 64 MiB.
std::uint64_t room_needed(const ModelSpec& spec, PlanRequest request) {
  constexpr std::uint64_t kStep = std::uint64_t{64} << 20;
  std::uint64_t low = 0, high = std::uint64_t{1} << 26;  // steps; 4 PiB hold everything
  while (low + 1 < high) {
    const std::uint64_t middle = (low + high) / 2;
    request.device->bytes = middle * kStep;
    (fits(spec, request) ? high : low) = middle;
  }
  return high * kStep;
}

// In the order of what they cost: settings first, then quality.
std::vector<Change> changes(const ModelSpec& spec, const PlanRequest& request) {
  std::vector<Change> all;
  PlanRequest next = request;
  if (request.context_length > 4096) {
    std::int64_t low = 0, high = request.context_length / 1024 + 1;  // in 1024 tokens
    while (low + 1 < high) {
      next.context_length = (low + high) / 2 * 1024;
      (fits(spec, next) ? low : high) = (low + high) / 2;
    }
    next.context_length = low * 1024;
    if (low >= 4) all.push_back({fmt::format("--context-length {}", low * 1024), next});
    next = request;
  }
  if (!next.weights.attention_int8) {
    next.weights.attention_int8 = true;
    all.push_back({"--attention-quant int8", next});
  }
  const WeightTypes& types = next.weights;
  if (!types.shared_expert_int8 || !types.dense_mlp_int8 || !types.lm_head_int8) {
    next.weights.shared_expert_int8 = next.weights.dense_mlp_int8 = next.weights.lm_head_int8 =
        true;
    all.push_back({"int8 for attention, shared experts, dense MLP and LM head", next});
  }
  if (!next.weights.experts || next.weights.experts->bits > 4) {
    next.weights.experts = TileType{};
    all.push_back({"--cpu-expert-bits 4", next});
  }
  return all;
}

bool fits_in_ram(std::uint64_t bytes, std::uint64_t free_bytes) {
  return bytes <= free_bytes - free_bytes / 20;
}

}  // namespace

std::string too_small(const ModelSpec& spec, const PlanRequest& request) {
  const auto gigabytes = [](std::uint64_t bytes) { return static_cast<double>(bytes) / 1e9; };
  const std::uint64_t needed = room_needed(spec, request);
  std::string text =
      fmt::format("budget: the model needs at least {:.2f} GB of VRAM, {:.2f} GB may be used; ",
                  gigabytes(needed), gigabytes(request.device->bytes));
  for (const Change& change : changes(spec, request)) {
    if (!fits(spec, change.request)) continue;
    return text + fmt::format("{} makes it fit", change.advice);
  }
  return text +
         "no setting makes it fit: use a GPU with more memory, or the processor alone "
         "(--selected-gpus none)";
}

std::string too_much_ram(const ModelSpec& spec, const WeightTypes& types, const Plan& plan,
                         std::uint64_t free_bytes) {
  const auto gigabytes = [](std::uint64_t bytes) { return static_cast<double>(bytes) / 1e9; };
  std::uint64_t needed = 0, experts = 0;
  for (const Component& component : plan.ram) {
    const bool is_experts = component.name == "experts";
    if (component.name == "kv_cache" || (is_experts && !types.experts)) continue;
    needed += component.bytes;
    if (is_experts) experts = component.bytes;
  }
  if (fits_in_ram(needed, free_bytes)) return "";
  std::string text = fmt::format(
      "memory: the model needs {:.1f} GB of RAM, {:.1f} GB of it for experts, and {:.1f} GB are "
      "free; ",
      gigabytes(needed), gigabytes(experts), gigabytes(free_bytes));
  WeightTypes smaller = types;
  smaller.experts = TileType{};
  const std::uint64_t with_smaller = needed - experts + expert_bytes(spec, smaller).arena;
  if (with_smaller < needed && fits_in_ram(with_smaller, free_bytes)) {
    text +=
        fmt::format("use --cpu-expert-bits 4, which needs {:.1f} GB, ", gigabytes(with_smaller));
  } else {
    text += "use a machine with more memory, ";
  }
  return text + "close other programs, or insist with --force-load";
}

}  // namespace krasis
