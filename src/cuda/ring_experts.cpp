#include "cuda/ring_experts.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "cuda/experts.h"

namespace krasis::cuda {
namespace {

using Kind = PassStep::Kind;

}  // namespace

RingExperts::RingExperts(const PlacedContext& context)
    : context_(context),
      steps_(plan_pass(context.placement, static_cast<int>(context.layers.size()))),
      layers_(context.layers.size()) {
  const auto slots = static_cast<std::size_t>(context.placement.ring_layers);
  const std::size_t slot_bytes = context.ring.size() / slots;
  std::size_t entries = 0;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    layers_[i].first_entry = entries;
    entries += static_cast<std::size_t>(context.layers[i].experts);
  }
  for (const PassStep& step : steps_)
    layer(step.layer).in_ring = &context.ring[static_cast<std::size_t>(step.slot) * slot_bytes];
  in_slot_.assign(slots, -1);
  table_ = context.memory.allocate(entries * sizeof(const std::byte*));
}

void RingExperts::write_table() {
  std::vector<const std::byte*> addresses;
  addresses.reserve(addresses_.size());
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const ExpertMatrices& matrices = context_.layers[i];
    for (std::int64_t expert = 0; expert < matrices.experts; ++expert) {
      const auto slot = context_.slots.slot_of(static_cast<int>(i), static_cast<int>(expert));
      const auto offset = static_cast<std::size_t>(expert) * matrices.tiled->expert_bytes;
      addresses.push_back(slot >= 0 ? context_.slots.slot(slot) : layers_[i].in_ring + offset);
    }
  }
  if (addresses == addresses_) return;
  addresses_.clear();  // until the device has them
  context_.memory.upload(table_.data(), addresses.data(), table_.bytes());
  addresses_ = std::move(addresses);
}

void RingExperts::begin_pass(std::int64_t parts) {
  passed_ = false;
  next_step_ = 0;
  parts_ = parts;
  parts_done_ = 0;
  std::ranges::fill(in_slot_, -1);
  write_table();
  // What an earlier pass left unfinished may still read the ring.
  begun_.record(context_.main);
  begun_.wait_on(context_.copies.stream());
  advance();
}

void RingExperts::advance() {
  for (; next_step_ < steps_.size(); ++next_step_) {
    const PassStep& step = steps_[next_step_];
    if (step.kind == Kind::Await || step.kind == Kind::Compute) return;
    if (step.kind == Kind::Load) load(step);
    if (step.kind == Kind::Drop) layer(step.layer).done.record(context_.main);
  }
}

// Neighbours that are not resident are one copy.
void RingExperts::load(const PassStep& step) {
  const Stream& stream = context_.copies.stream();
  int& in_slot = in_slot_[static_cast<std::size_t>(step.slot)];
  if (in_slot >= 0) layer(in_slot).done.wait_on(stream);
  in_slot = step.layer;

  const Layer& to = layer(step.layer);
  const ExpertMatrices& matrices = context_.layers[static_cast<std::size_t>(step.layer)];
  const std::size_t bytes = matrices.tiled->expert_bytes;
  const auto count = static_cast<std::size_t>(matrices.experts);
  const auto is_copied = [&](std::size_t expert) {
    return addresses_[to.first_entry + expert] == to.in_ring + expert * bytes;
  };
  to.copying.record(stream);
  for (std::size_t first = 0; first < count;) {
    std::size_t last = first;
    while (last < count && is_copied(last)) ++last;
    if (last > first) {
      context_.copies.copy(to.in_ring + first * bytes, matrices.tiled->base + first * bytes,
                           (last - first) * bytes);
    }
    first = last + 1;
  }
  to.loaded.record(stream);
}

void RingExperts::run(const Experts& op, const Launch& launch, const Add* sum) {
  Layer& at = layer(op.matrices.placed);
  if (next_step_ == steps_.size() || steps_[next_step_].layer != op.matrices.placed) {
    const std::string turn =
        next_step_ == steps_.size()
            ? "the pass is over"
            : "it is layer " + std::to_string(steps_[next_step_].layer) + "'s turn";
    throw Error(ErrorCode::Internal,
                "ring: experts of layer " + std::to_string(op.matrices.placed) + ", but " + turn);
  }
  if (steps_[next_step_].kind == Kind::Await) {
    ++next_step_;
    if (steps_[next_step_].kind == Kind::Load) {  // not before the ops have come here
      at.computing.record(context_.main);
      at.computing.wait_on(context_.copies.stream());
    }
    advance();
    at.loaded.wait_on(context_.main);
    at.computing.record(context_.main);
  }
  experts_at(table_.as<const std::byte*>() + at.first_entry, op, launch, sum);
  if (++parts_done_ < parts_) return;
  parts_done_ = 0;
  ++next_step_;
  advance();
  passed_ = next_step_ == steps_.size();
}

std::vector<LayerTimes> RingExperts::times() const {
  std::vector<LayerTimes> times;
  if (!passed_) return times;
  for (const Layer& layer : layers_) {
    layer.done.synchronize();
    times.push_back({.copy_begin_ms = layer.copying.ms_since(begun_),
                     .copy_end_ms = layer.loaded.ms_since(begun_),
                     .experts_begin_ms = layer.computing.ms_since(begun_),
                     .experts_end_ms = layer.done.ms_since(begun_)});
  }
  return times;
}

}  // namespace krasis::cuda
