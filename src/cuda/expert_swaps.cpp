#include "cuda/expert_swaps.h"

#include <algorithm>

#include "base/error.h"
#include "cuda/placed_experts.h"

namespace krasis::cuda {
namespace {

// Counts are looked at every so many steps: it costs some tenth of a millisecond.
constexpr std::int64_t kStepsOfALook = 32;
constexpr std::size_t kSwapsOfALook = 512;
// With experts of a megabyte or two, some percent of what the link moves in a step.
constexpr std::size_t kCopiesAtOnce = 16;

constexpr std::uint8_t kAbsent = 0, kResident = 1, kOnItsWay = 2;

std::vector<std::int64_t> experts_of(std::span<const ExpertMatrices> layers) {
  std::vector<std::int64_t> experts;
  for (const ExpertMatrices& layer : layers) experts.push_back(layer.experts);
  return experts;
}

std::vector<std::size_t> firsts_of(std::span<const ExpertMatrices> layers) {
  std::vector<std::size_t> firsts = {0};
  for (const ExpertMatrices& layer : layers)
    firsts.push_back(firsts.back() + static_cast<std::size_t>(layer.experts));
  return firsts;
}

}  // namespace

ExpertSwaps::ExpertSwaps(const PlacedContext& context)
    : context_(context),
      first_(firsts_of(context.layers)),
      hot_(experts_of(context.layers)),
      counts_(context.memory.allocate(first_.back() * sizeof(unsigned))),
      seen_(first_.back() * sizeof(unsigned)),
      looked_at_(first_.back()),
      residents_(first_.back()) {}

// Nothing may be on its way into the slots when they go.
ExpertSwaps::~ExpertSwaps() {
  static_cast<void>(cudaStreamSynchronize(context_.copies.stream().get()));
}

unsigned* ExpertSwaps::counts(int layer) const {
  return counts_.as<unsigned>() + first_[static_cast<std::size_t>(layer)];
}

ExpertSlots::Expert ExpertSwaps::place_of(std::size_t expert) const {
  const auto after = std::ranges::upper_bound(first_, expert);
  const auto layer = after - first_.begin() - 1;
  return {.layer = static_cast<int>(layer),
          .expert = static_cast<int>(expert - first_[static_cast<std::size_t>(layer)])};
}

void ExpertSwaps::mark_residents() {
  for (std::uint8_t& state : residents_)
    if (state == kResident) state = kAbsent;
  for (std::int64_t slot = 0; slot < context_.slots.count(); ++slot) {
    const auto [layer, expert] = context_.slots.held_by(slot);
    if (layer >= 0)
      residents_[first_[static_cast<std::size_t>(layer)] + static_cast<std::size_t>(expert)] =
          kResident;
  }
}

void ExpertSwaps::before_step(std::int64_t tokens) {
  const auto slots = static_cast<std::size_t>(context_.slots.count());
  if (!context_.placement.adaptive || slots == 0 || slots == residents_.size()) return;
  finish_copies();
  tokens_ += tokens;
  ++steps_;
  look_at_counts();
  start_copies(kCopiesAtOnce);
}

void ExpertSwaps::after_pass(std::int64_t tokens) {
  tokens_ += tokens;
  steps_ = kStepsOfALook;
}

void ExpertSwaps::set_heat(std::span<const float> heat) {
  hot_.set_heat(heat);
  mark_residents();
  const auto swaps = hot_.swaps(residents_, residents_.size());
  wanted_.assign(swaps.begin(), swaps.end());
  start_copies(residents_.size());
  context_.copies.stream().synchronize();
  finish_copies();
}

void ExpertSwaps::finish_copies() {
  bool changed = false;
  for (; !copies_.empty() && copies_.front().over->is_over(); copies_.pop_front()) {
    for (const auto& [expert, slot] : copies_.front().experts) {
      context_.slots.put(slot, place_of(expert));
      residents_[expert] = kResident;
    }
    under_way_ -= copies_.front().experts.size();
    swaps_ += std::ssize(copies_.front().experts);
    changed = true;
  }
  if (changed) context_.slots.publish();
}

void ExpertSwaps::look_at_counts() {
  if (looking_ && seen_ready_.is_over()) {
    looking_ = false;
    std::vector<std::uint32_t> chosen(looked_at_.size());
    for (std::size_t e = 0; e < chosen.size(); ++e) {
      const std::uint32_t count = seen_.as<unsigned>()[e];
      chosen[e] = count - looked_at_[e];
      looked_at_[e] = count;
    }
    hot_.observe(chosen, tokens_);
    tokens_ = 0;
    mark_residents();
    const auto swaps = hot_.swaps(residents_, kSwapsOfALook);
    wanted_.assign(swaps.begin(), swaps.end());
  }
  if (looking_ || steps_ < kStepsOfALook) return;
  steps_ = 0;
  looking_ = true;
  check(cudaMemcpyAsync(seen_.data(), counts_.data(), seen_.bytes(), cudaMemcpyDeviceToHost,
                        context_.copies.stream().get()),
        "reading how often experts were chosen");
  seen_ready_.record(context_.copies.stream());
}

void ExpertSwaps::start_copies(std::size_t most) {
  if (wanted_.empty() || under_way_ >= most) return;
  Copies begun;
  begun.over = std::make_unique<Event>();  // where there is no memory for it, nothing has changed
  while (!wanted_.empty() && under_way_ + begun.experts.size() < most) {
    const HotExperts::Swap swap = wanted_.front();
    wanted_.pop_front();
    const auto [layer, expert] = place_of(swap.out);
    const std::int64_t slot = context_.slots.slot_of(layer, expert);
    if (slot < 0) continue;
    context_.slots.clear(slot);
    residents_[swap.out] = kAbsent;
    residents_[swap.in] = kOnItsWay;
    begun.experts.emplace_back(swap.in, slot);
  }
  if (begun.experts.empty()) return;
  // What was queued before may still read what is about to be overwritten.
  context_.slots.publish();
  tables_written_.record(context_.main);
  tables_written_.wait_on(context_.copies.stream());
  for (const auto& [expert, slot] : begun.experts) {
    const auto [layer, number] = place_of(expert);
    const ExpertMatrices::Tiled& tiled = *context_.layers[static_cast<std::size_t>(layer)].tiled;
    context_.copies.copy(context_.slots.slot(slot),
                         tiled.base + static_cast<std::size_t>(number) * tiled.expert_bytes,
                         tiled.expert_bytes);
  }
  begun.over->record(context_.copies.stream());
  under_way_ += begun.experts.size();
  copies_.push_back(std::move(begun));
}

}  // namespace krasis::cuda
