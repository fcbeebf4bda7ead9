// Which routed experts are in device memory, and where: slots of one size, and for every layer a
// table in device memory that a captured graph reads, so that it stays good when residency changes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ops/matrix.h"
#include "ops/memory.h"

namespace krasis::cuda {

class ExpertSlots {
 public:
  // layers: tiled, in the program's own memory. `slots` experts fit; all slots are free. Throws
  // Error(OutOfMemory).
  ExpertSlots(Memory& memory, std::span<const ExpertMatrices> layers, std::int64_t slots);

  std::int64_t count() const { return static_cast<std::int64_t>(holds_.size()); }
  std::size_t slot_bytes() const { return slot_bytes_; }  // of the largest expert
  std::byte* slot(std::int64_t number) const {
    return memory_slots_.data() + static_cast<std::size_t>(number) * slot_bytes_;
  }

  struct Expert {
    int layer = -1;  // among `layers`; -1: the slot is free
    int expert = -1;
  };
  Expert held_by(std::int64_t slot) const { return holds_[static_cast<std::size_t>(slot)]; }
  // The slot of an expert, -1 if it has none.
  std::int64_t slot_of(int layer, int expert) const;

  // Host view: changes take effect on the device with the next publish(). The caller has copied, or
  // queued before publish() the copy of, the expert's bytes.
  void put(std::int64_t slot, Expert expert);
  void clear(std::int64_t slot);

  // Copies what changed to the device tables, in order with the ops queued before and after.
  void publish();

  // [experts] of the layer, in device memory: where each begins, nullptr if not resident. Never
  // moves.
  const std::byte* const* table(int layer) const;

 private:
  std::size_t entry(int layer, int expert) const;

  Memory& memory_;
  std::size_t slot_bytes_ = 0;
  std::vector<std::size_t> first_entry_;              // [layers + 1] into the tables
  std::vector<Expert> holds_;                         // [slots]
  std::vector<std::int64_t> slots_;                   // [entries], -1: none
  std::vector<const std::byte*> addresses_;           // [entries], as the device should see them
  std::size_t changed_first_ = 0, changed_last_ = 0;  // entries not published yet
  Buffer memory_slots_, tables_;
};

}  // namespace krasis::cuda
