// Which experts are in a device's memory before anything is known of what is asked for.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace krasis {

struct ResidentExpert {
  int layer;
  int expert;

  friend bool operator==(const ResidentExpert&, const ResidentExpert&) = default;
};

// `slots` of them, or all: as many of every layer as of the others, as far as layers have them, the
// first ones of each. In order of layers. experts: of each layer.
std::vector<ResidentExpert> first_residents(std::span<const std::int64_t> experts,
                                            std::int64_t slots);

}  // namespace krasis
