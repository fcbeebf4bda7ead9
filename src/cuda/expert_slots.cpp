#include "cuda/expert_slots.h"

#include <algorithm>

#include "base/error.h"

namespace krasis::cuda {

ExpertSlots::ExpertSlots(Memory& memory, std::span<const ExpertMatrices> layers, std::int64_t slots)
    : memory_(memory) {
  std::size_t entries = 0;
  for (const ExpertMatrices& layer : layers) {
    ensure(layer.tiled.has_value(), "expert slots: the experts are not tiled");
    slot_bytes_ = std::max(slot_bytes_, layer.tiled->expert_bytes);
    first_entry_.push_back(entries);
    entries += static_cast<std::size_t>(layer.experts);
  }
  first_entry_.push_back(entries);
  slots = std::min(slots, static_cast<std::int64_t>(entries));
  holds_.resize(static_cast<std::size_t>(slots));
  slots_.assign(entries, -1);
  addresses_.assign(entries, nullptr);
  tables_ = memory.allocate(entries * sizeof(const std::byte*));
  if (slots > 0) memory_slots_ = memory.allocate(static_cast<std::size_t>(slots) * slot_bytes_);
}

std::size_t ExpertSlots::entry(int layer, int expert) const {
  return first_entry_[static_cast<std::size_t>(layer)] + static_cast<std::size_t>(expert);
}

std::int64_t ExpertSlots::slot_of(int layer, int expert) const {
  return slots_[entry(layer, expert)];
}

void ExpertSlots::put(std::int64_t slot, Expert expert) {
  clear(slot);
  const std::size_t at = entry(expert.layer, expert.expert);
  ensure(slots_[at] < 0, "expert slots: the expert is in a slot already");
  holds_[static_cast<std::size_t>(slot)] = expert;
  slots_[at] = slot;
  addresses_[at] = this->slot(slot);
  if (changed_first_ == changed_last_) changed_first_ = changed_last_ = at;
  changed_first_ = std::min(changed_first_, at);
  changed_last_ = std::max(changed_last_, at + 1);
}

void ExpertSlots::clear(std::int64_t slot) {
  Expert& expert = holds_[static_cast<std::size_t>(slot)];
  if (expert.layer < 0) return;
  const std::size_t at = entry(expert.layer, expert.expert);
  slots_[at] = -1;
  addresses_[at] = nullptr;
  expert = {};
  if (changed_first_ == changed_last_) changed_first_ = changed_last_ = at;
  changed_first_ = std::min(changed_first_, at);
  changed_last_ = std::max(changed_last_, at + 1);
}

void ExpertSlots::publish() {
  const std::size_t count = changed_last_ - changed_first_;
  if (count == 0) return;
  memory_.upload(tables_.data() + changed_first_ * sizeof(const std::byte*),
                 addresses_.data() + changed_first_, count * sizeof(const std::byte*));
  changed_first_ = changed_last_ = 0;
}

const std::byte* const* ExpertSlots::table(int layer) const {
  return tables_.as<const std::byte*>() + first_entry_[static_cast<std::size_t>(layer)];
}

}  // namespace krasis::cuda
