// ops/experts.h on the processor: routing, and experts whose matrices are not tiles.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/machine.h"
#include "cpu/tile_runner.h"
#include "ops/experts.h"

namespace krasis::cpu {

class Router {
 public:
  explicit Router(const Machine& machine) : machine_(machine) {}
  void run(const Route& op);

 private:
  Machine machine_;
  GrowingArray<float> scratch_;  // of each worker: scores and choices of the experts
};

class PlainExperts {
 public:
  explicit PlainExperts(const Machine& machine);
  ~PlainExperts();
  void run(const Experts& op);

 private:
  struct Block;

  void run_tokens(const Experts& op, std::int64_t first, std::int64_t count);
  void sort_by_expert(const Experts& op, std::int64_t first, std::int64_t count);
  template <class Work>
  void for_blocks(const Experts& op, std::int64_t outputs, std::int64_t columns, Work&& work);

  Machine machine_;
  // Rows are the (token, j) pairs sorted by expert.
  std::vector<std::int64_t> row_ends_;  // [experts]
  std::vector<std::int64_t> pairs_;     // [rows] token * top_k + j
  std::vector<Block> blocks_;
  GrowingArray<float> gates_, ups_;  // [rows, intermediate]
  GrowingArray<float> outputs_;      // [token * top_k + j, hidden]
};

}  // namespace krasis::cpu
