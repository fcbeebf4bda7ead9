// Pseudo-random bits for made-up weights: the same on every machine and in every run.
#pragma once

#include <cstdint>

namespace krasis {

// SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", figure
// 19): any seed is good, neighbouring seeds give unrelated streams.
class RandomBits {
 public:
  explicit RandomBits(std::uint64_t seed) : state_(mix(seed)) {}

  std::uint64_t next() { return mix(state_ += 0x9e3779b97f4a7c15U); }

 private:
  static std::uint64_t mix(std::uint64_t bits) {
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9U;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebU;
    return bits ^ (bits >> 31);
  }
  std::uint64_t state_;
};

}  // namespace krasis
