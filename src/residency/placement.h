// How a model's routed experts are divided between a device's memory and the program's own, and how
// prompts get at those that are not in the device's: figures only, decided before anything is
// allocated.
#pragma once

#include <cstdint>

namespace krasis {

enum class ExpertMode : std::uint8_t {
  Auto,        // the next layer's experts on their way under this layer's work
  Persistent,  // all in the device's memory
  Grouped,     // layers in groups; the next group on its way while a prompt passes through this one
  ActiveOnly,  // only what a prompt chose, copied after its routing
  Chunked,     // one layer at a time, nothing overlapped
};

struct ExpertPlacement {
  ExpertMode mode = ExpertMode::Auto;
  std::int64_t resident = 0;  // experts kept in the device's memory, over all layers
  std::int64_t ring_layers =
      2;  // layers' experts that the memory which prompts stream through holds
  std::int64_t group_layers = 1;  // Grouped: sparse layers of a group; ring_layers is twice that

  // Prompts of fewer tokens have no expert copied, longer ones none computed on the processor; -1:
  // by the rates below.
  std::int64_t prompt_threshold = -1;

  // What prompts and tokens before have chosen decides which experts are resident and which are
  // copied ahead, and so, within the rounding of activations, results. False: residents stay.
  bool adaptive = true;

  // Seconds that a step waits for the processor's experts; then it is an error.
  double patience = 10;

  // Measured on this machine; 0: not known.
  double link_rate = 0;  // bytes a second to the device
  double processor_rate =
      0;  // bytes of experts a second that the processor computes for few tokens
  double processor_token_seconds = 0;  // of each token of an expert that has many
  double memory_rate = 0;  // bytes a second that the program's memory gives to all who read it
};

// Throws Error(InvalidArgument) naming the member that contradicts the others.
void check(const ExpertPlacement& placement);

}  // namespace krasis
