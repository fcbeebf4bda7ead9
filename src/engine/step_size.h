// How large steps may be. One that finds no memory makes the next ones smaller than what it had in
// use; after some requests that went well, steps may be as large as at first again.
#pragma once

#include <cstdint>

namespace krasis {

struct StepLimits {
  std::int64_t prompt_tokens = 0;  // of all prompts together
  std::int64_t sequences = 0;      // under way at once
  friend bool operator==(const StepLimits&, const StepLimits&) = default;
};

class StepSize {
 public:
  // Prompts in smaller steps are not worth going on with.
  static constexpr std::int64_t kLeastTokens = 32;
  // A step that cannot be smaller is tried so often before it is given up: others may have had the
  // memory for a moment.
  static constexpr int kTries = 3;

  explicit StepSize(const StepLimits& most) : most_(most), now_(most) {}

  const StepLimits& now() const { return now_; }

  // A step of this size found no memory. The next ones have half its prompt tokens; where these are
  // the fewest, half its sequences. False where it was as small as can be and was tried kTries
  // times: it is to be given up.
  bool shrink(const StepLimits& failed);

  void token_came() { failed_tries_ = 0; }  // of anybody's answer: only these are never lost
  void request_went_well() { ++went_well_; }

  // Makes steps as large as at first if as many requests have gone well as it takes: one, after
  // each further time that this was too early twice as many, up to 64. Eight times that where
  // somebody's prompt is half read, since it would have to begin again. True if steps are larger
  // now.
  bool grow(bool prompt_is_half_read);

 private:
  StepLimits most_, now_;
  int failed_tries_ = 0;
  std::int64_t went_well_ = 0;  // requests, since steps became smaller
  std::int64_t patience_ = 0;   // requests; 0: steps were never smaller
};

}  // namespace krasis
