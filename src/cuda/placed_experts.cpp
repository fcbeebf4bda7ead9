#include "cuda/placed_experts.h"

#include <algorithm>

#include "base/error.h"
#include "cuda/decode_experts.h"
#include "cuda/expert_counts.h"
#include "cuda/expert_swaps.h"
#include "cuda/ring_experts.h"
#include "cuda/way_experts.h"
#include "residency/divide.h"
#include "residency/first_residents.h"

namespace krasis::cuda {
namespace {

std::vector<ExpertMatrices> numbered(std::span<const ExpertMatrices> layers) {
  std::vector<ExpertMatrices> all(layers.begin(), layers.end());
  for (std::size_t i = 0; i < all.size(); ++i) all[i].placed = static_cast<int>(i);
  return all;
}

std::size_t largest_layer_bytes(std::span<const ExpertMatrices> layers) {
  std::size_t bytes = 0;
  for (const ExpertMatrices& layer : layers) {
    ensure(layer.tiled.has_value(), "placed experts: the experts are not tiled");
    bytes = std::max(bytes, static_cast<std::size_t>(layer.experts) * layer.tiled->expert_bytes);
  }
  return bytes;
}

// Before memory is allocated by it.
const ExpertPlacement& checked(const ExpertPlacement& placement) {
  check(placement);
  return placement;
}

}  // namespace

PlacedExperts::PlacedExperts(std::span<const ExpertMatrices> layers,
                             const ExpertPlacement& placement, Memory& memory, const Stream& main,
                             Ops& processor, ExpertCopies::Pinning pinning)
    : layers_(numbered(layers)),
      placement_(checked(placement)),
      rates_(placement_),
      ring_(memory.allocate(static_cast<std::size_t>(placement.ring_layers) *
                            largest_layer_bytes(layers))),
      slots_(memory, layers_, placement.resident),
      copies_(layers_, pinning),
      context_{.layers = layers_,
               .placement = placement_,
               .rates = rates_,
               .slots = slots_,
               .copies = copies_,
               .ring = {ring_.data(), ring_.bytes()},
               .memory = memory,
               .main = main,
               .processor = processor},
      swaps_(std::make_unique<ExpertSwaps>(context_)),
      decode_experts_(std::make_unique<DecodeExperts>(context_)),
      way_experts_(std::make_unique<WayExperts>(context_)) {
  if (placement_.mode != ExpertMode::ActiveOnly && placement_.mode != ExpertMode::Persistent)
    ring_experts_ = std::make_unique<RingExperts>(context_);
  fill_slots();
}

PlacedExperts::~PlacedExperts() = default;

void PlacedExperts::fill_slots() {
  context_.main.synchronize();  // the slots are cleared there
  std::vector<std::int64_t> experts;
  for (const ExpertMatrices& layer : layers_) experts.push_back(layer.experts);
  const auto residents = first_residents(experts, slots_.count());
  std::int64_t slot = 0;
  for (const ResidentExpert& resident : residents) {
    const ExpertMatrices::Tiled& tiled = *layers_[static_cast<std::size_t>(resident.layer)].tiled;
    slots_.put(slot, {resident.layer, resident.expert});
    copies_.copy(slots_.slot(slot++),
                 tiled.base + static_cast<std::size_t>(resident.expert) * tiled.expert_bytes,
                 tiled.expert_bytes);
  }
  copies_.stream().synchronize();
  slots_.publish();
}

bool PlacedExperts::goes_by_ways(std::int64_t tokens, std::int64_t parts) const {
  const auto most = std::ranges::max(layers_, {}, &ExpertMatrices::experts);
  return krasis::goes_by_ways(rates_.for_prompts(),
                              {.tokens = tokens,
                               .parts = parts,
                               .layers = static_cast<std::int64_t>(layers_.size()),
                               .experts = most.experts,
                               .top_k = top_k_,
                               .resident = slots_.count(),
                               .expert_bytes = slots_.slot_bytes()});
}

void PlacedExperts::begin_pass(std::int64_t tokens, std::int64_t parts) {
  slots_.publish();  // where a step that failed has not
  pass_tokens_ = tokens;
  by_ways_ = goes_by_ways(tokens, parts);
  by_ways_ ? way_experts_->begin_pass(tokens, parts) : ring_experts_->begin_pass(parts);
  in_pass_ = true;
}

void PlacedExperts::end_pass() {
  if (in_pass_) {
    swaps_->after_pass(pass_tokens_);
    rates_.end_prompt();
  }
  in_pass_ = false;
}

void PlacedExperts::begin_step(std::int64_t tokens) {
  in_pass_ = false;
  slots_.publish();
  swaps_->before_step(tokens);
  decode_experts_->begin_step();
}

void PlacedExperts::check_step() {
  decode_experts_->check_answers();
}

StepPartner& PlacedExperts::step_partner() {
  return *decode_experts_;
}

const std::vector<float>& PlacedExperts::expert_heat() const {
  return swaps_->heat();
}

DecodePairs PlacedExperts::decode_pairs() const {
  return decode_experts_->pairs();
}

DecodeTimes PlacedExperts::decode_times() const {
  return decode_experts_->times();
}

void PlacedExperts::set_expert_heat(std::span<const float> heat) {
  swaps_->set_heat(heat);
}

std::vector<LayerTimes> PlacedExperts::pass_times() const {
  return ring_experts_ == nullptr ? std::vector<LayerTimes>() : ring_experts_->times();
}

std::vector<WayTimes> PlacedExperts::way_times() const {
  return way_experts_->times();
}

void PlacedExperts::run(const Experts& op, const Launch& launch, const Add* sum) {
  top_k_ = op.top_k;
  unsigned* const counts = swaps_->counts(op.matrices.placed);
  if (!in_pass_) return decode_experts_->run(op, counts, launch);
  count_experts(op.ids, counts, launch);
  by_ways_ ? way_experts_->run(op, launch) : ring_experts_->run(op, launch, sum);
}

}  // namespace krasis::cuda
