#include "budget/remedy.h"

#include <fmt/format.h>
#include <optional>
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

}  // namespace

std::string too_small(const ModelSpec& spec, const PlanRequest& request) {
  const auto gigabytes = [](std::uint64_t bytes) { return static_cast<double>(bytes) / 1e9; };
  PlanRequest forced = request;
  forced.force = true;
  const std::optional<Plan> in_ram = plan_if_it_fits(spec, forced);
  std::string text =
      in_ram
          ? fmt::format(
                "budget: the model needs {:.2f} GB of RAM, {:.0f} % of the {:.2f} GB "
                "that are free may be used; ",
                gigabytes(needed_ram(*in_ram)), 100 * kMostRamShare, gigabytes(request.ram_bytes))
          : fmt::format(
                "budget: the model needs at least {:.2f} GB of VRAM, {:.2f} GB may be "
                "used; ",
                gigabytes(room_needed(spec, forced)), gigabytes(request.device->bytes));
  for (const Change& change : changes(spec, request)) {
    if (!fits(spec, change.request)) continue;
    return text + fmt::format("{} makes it fit", change.advice);
  }
  if (in_ram)
    return text + "no setting makes it fit: close other programs, or insist with --force-load";
  text += "no setting makes it fit: use a GPU with more memory";
  PlanRequest alone = request;
  alone.device.reset();
  if (fits(spec, alone)) text += ", or the processor alone (--selected-gpus none)";
  return text;
}

}  // namespace krasis
