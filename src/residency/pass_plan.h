// The order in which layers' experts come to a device while a prompt passes through all layers: how
// far ahead they are copied, and into which part of a ring.
#pragma once

#include <cstdint>
#include <vector>

#include "residency/placement.h"

namespace krasis {

// Steps are taken in order, each queued behind what came before on its side: copies, or work.
struct PassStep {
  enum class Kind : std::uint8_t {
    Load,     // start copying the layer's experts into the slot
    Await,    // nothing that follows is queued before the layer's experts are asked for
    Compute,  // all tokens of the prompt, once the layer is there
    Drop,     // the slot may be overwritten once that is done
  };
  Kind kind;
  int layer;
  int slot;  // of the ring

  friend bool operator==(const PassStep&, const PassStep&) = default;
};

// For `layers` layers of experts: each is loaded once, awaited, computed and dropped, in the order
// of layers, and no slot is loaded before it was dropped.
//   Auto     as far ahead as the ring has slots
//   Grouped  the next group_layers layers are loaded when the first of a group is about to start
//   Chunked  a layer is loaded when it is asked for
// ActiveOnly and Persistent have no such plan. Throws Error(InvalidArgument) as check() does.
std::vector<PassStep> plan_pass(const ExpertPlacement& placement, int layers);

}  // namespace krasis
