#include "residency/placement.h"

#include <string>

#include "base/error.h"

namespace krasis {
namespace {

void require(bool good, const char* name, std::int64_t value, const char* range) {
  if (good) return;
  throw Error(ErrorCode::InvalidArgument, std::string("residency: ") + name + " is " +
                                              std::to_string(value) + ", it must be " + range);
}

}  // namespace

void check(const ExpertPlacement& placement) {
  const bool grouped = placement.mode == ExpertMode::Grouped;
  require(placement.resident >= 0, "resident", placement.resident, "at least 0");
  require(placement.ring_layers >= (grouped ? 2 * placement.group_layers : 1), "ring_layers",
          placement.ring_layers, "room for what is computed and what is on its way");
  require(placement.group_layers >= 1, "group_layers", placement.group_layers, "at least 1");
  require(placement.prompt_threshold >= -1, "prompt_threshold", placement.prompt_threshold,
          "a number of tokens, or -1");
}

}  // namespace krasis
