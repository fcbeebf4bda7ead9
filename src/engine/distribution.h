// Drawing from a softmax without sorting it. Values are indices into the weights; the order that
// cuts refer to is: heavier first, equal weights by lower index.
//
// A draw from "the most probable values that together reach top_p" needs no list of those values:
// draw from all, and accept if the weight before the drawn value is less than top_p of the total.
// If not, everything from the drawn value on is outside as well: remove it and draw again. Each
// round is a linear pass and at least halves what is left on average.
// (The idea: "Sorting-Free GPU Kernels for LLM Sampling", flashinfer.ai, 2025.)
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace krasis {

using RandomBits = std::mt19937_64;

class Distribution {
 public:
  // weight[i] = exp((logits[i] - highest) / temperature), relative error below 1e-6; 0 below
  // exp(-87.7). highest is the largest of the logits, so that one weight is 1. temperature > 0.
  void assign(std::span<const float> logits, float highest, float temperature);

  double total() const { return total_; }

  // Leaves out values lighter than min_p, then draws from the smallest set of heaviest values whose
  // weight is at least top_p * total() of what assign() saw. One call for each assign().
  std::size_t draw(double top_p, float min_p, RandomBits& random);

 private:
  std::size_t pick(double target) const;
  double weight_before(std::size_t index) const;
  void keep_before(std::size_t index);
  void sum_blocks();

  std::vector<float> weights_;
  std::vector<double> block_sums_;
  double total_ = 0;
};

}  // namespace krasis
