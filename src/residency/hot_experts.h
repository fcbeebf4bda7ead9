// Which experts are worth a place in a device's memory: those that tokens chose most often of late.
// Host arithmetic only.
//
// Every expert has a heat: the number of times it was chosen, where a choice counts half as much
// after every kHalfLifeTokens tokens. Experts are numbered over all layers, layer by layer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace krasis {

class HotExperts {
 public:
  static constexpr double kHalfLifeTokens = 512;

  // experts: of each layer. All are cold.
  explicit HotExperts(std::span<const std::int64_t> experts);

  // `tokens` tokens were routed, and expert e was chosen counts[e] times [all]. A long prompt
  // counts no more than its last kHalfLifeTokens would: what follows it is what matters.
  void observe(std::span<const std::uint32_t> counts, std::int64_t tokens);

  struct Swap {
    std::size_t in, out;  // numbers of experts
    friend bool operator==(const Swap&, const Swap&) = default;
  };
  // At most `most` exchanges of the coldest residents for the hottest others, the most useful
  // first; only such as are worth a copy. resident [all]: 1 may be taken out, 0 may come in, others
  // stay what they are.
  std::vector<Swap> swaps(std::span<const std::uint8_t> resident, std::size_t most) const;

  // [all]; to be remembered and given back. set_heat() throws Error(InvalidArgument) if it is of
  // other experts, or not a number of at least 0 each.
  const std::vector<float>& heat() const { return heat_; }
  void set_heat(std::span<const float> heat);

 private:
  std::vector<float> heat_;
};

}  // namespace krasis
