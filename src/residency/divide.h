// Who computes which experts of a layer for a prompt: the device where they are, the device after a
// copy, or the processor where they lie, all at the same time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "residency/placement.h"

namespace krasis {

enum class Way : std::uint8_t {
  None,      // no token chose it
  Resident,  // in the device's memory
  Copy,      // over the link, then on the device
  Processor,
};

// Seconds that ways take, as far as they bound a layer; the device itself computes far faster than
// experts come to it.
struct WayCosts {
  double copy = 0;              // of an expert over the link
  double link_busy = 0;         // before, with copies that were started earlier
  double after_copies = 0;      // until the device is done after the last copy
  double processor = 0;         // of an expert with few tokens on the processor: reading it
  double processor_beside = 0;  // the same while the link reads as well
  double processor_token = 0;   // of each token of an expert with many
  double processor_start = 0;   // before and after: waking its threads, moving tokens
};

struct AllowedWays {
  bool copy = true;
  bool processor = true;
};

// What a prompt of `tokens` may use: prompt_threshold, and with -1 and a rate that is not known
// kDefaultThreshold. ExpertMode::ActiveOnly: never the processor.
constexpr std::int64_t kDefaultThreshold = 300;
AllowedWays allowed_ways(const ExpertPlacement& placement, std::int64_t tokens);

WayCosts way_costs(const ExpertPlacement& placement, std::size_t expert_bytes);

// Seconds that a device with `tokens` tokens spends between one layer's experts and the next one's.
double seconds_between(std::int64_t tokens);

// tokens: [experts] of the layer, >= 0. ways: [experts], Resident where the expert is in the
// device's memory and anything else where not; gets the way of each. Of the experts that are not
// resident those with the most tokens are copied, up to the number for which the later end of link
// and processor is earliest; an expert of n tokens takes the processor max(processor, n *
// processor_token). The same arguments give the same ways. Returns the seconds until that
// end. At least one way must be allowed.
double divide(std::span<const std::int32_t> tokens, const WayCosts& costs, AllowedWays allowed,
              std::span<Way> ways);

// Of these, what the processor takes for its own.
double processor_seconds(std::span<const std::int32_t> tokens, std::span<const Way> ways,
                         const WayCosts& costs);

// How a prompt gets at experts that are not in the device's memory.
struct PromptShape {
  std::int64_t tokens = 0;
  std::int64_t parts = 1;    // that all layers go through one after another
  std::int64_t layers = 0;   // with routed experts
  std::int64_t experts = 0;  // of a layer
  std::int64_t top_k = 0;
  std::int64_t resident = 0;  // experts in the device's memory, over all layers
  std::size_t expert_bytes = 0;
};
struct PromptTimes {
  double ring = 0;  // seconds for all layers: everything once over the link, under all other work
  double ways = 0;  // divided layer by layer, after its routing
};

// Expected if tokens choose evenly, which is what costs most.
PromptTimes predict(const ExpertPlacement& placement, const PromptShape& shape);

// True: by ways, false: by the ring. ActiveOnly goes by ways and so does Persistent, where nothing
// is left to divide; Grouped and Chunked by the ring; Auto by what is predicted to be faster,
// within prompt_threshold.
bool goes_by_ways(const ExpertPlacement& placement, const PromptShape& shape);

}  // namespace krasis
