#include "engine/step_size.h"

#include <algorithm>

namespace krasis {
namespace {

constexpr std::int64_t kMostPatience = 64;
constexpr std::int64_t kHalfReadFactor = 8;

}  // namespace

bool StepSize::shrink(const StepLimits& failed) {
  if (now_ == most_) patience_ = std::clamp<std::int64_t>(2 * patience_, 1, kMostPatience);
  went_well_ = 0;
  if (failed.prompt_tokens > kLeastTokens) {
    now_.prompt_tokens = std::max(kLeastTokens, failed.prompt_tokens / 2);
  } else if (failed.sequences > 1) {
    now_.sequences = failed.sequences / 2;
  } else if (++failed_tries_ == kTries) {
    failed_tries_ = 0;
    return false;
  }
  return true;
}

bool StepSize::grow(bool prompt_is_half_read) {
  if (now_ == most_) return false;
  if (went_well_ < patience_ * (prompt_is_half_read ? kHalfReadFactor : 1)) return false;
  now_ = most_;
  return true;
}

}  // namespace krasis
