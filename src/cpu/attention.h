// ops/attention.h on the processor.
//
// A chunk is kChunkTokens tokens of a sequence, counted from its start. For each query, a chunk's
// scores, exponentials and sum of values are computed together, and the chunks are then put
// together in ascending order. That order is the same whether a query comes alone or in a prompt,
// and whether one worker does all chunks or each another.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/machine.h"
#include "cpu/tile_runner.h"
#include "ops/attention.h"

namespace krasis::cpu {

void kv_append(const Machine& machine, const KvAppend& op);

class AttentionRunner {
 public:
  explicit AttentionRunner(const Machine& machine) : machine_(machine) {}
  void run(const Attention& op);

 private:
  // Queries that share keys: of the (token, head of the group) pairs of a segment and a key-value
  // head, `rows` from `first`.
  struct Unit {
    std::int64_t segment, kv_head, first, rows;
    std::int64_t chunks;  // that its last row sees
    std::int64_t result;  // number of its first chunk among the results of a wave
  };
  // What a unit's rows have of one chunk, or of several put together.
  struct Result {
    float* largest;  // [rows] scores
    float* sum;      // [rows] of exp(score - largest)
    float* out;      // [rows, value_dim], not yet divided by the sum
  };

  void list_units(const Attention& op);
  void run_wave(const Attention& op, std::size_t first, std::size_t last);
  void whole_unit(const Attention& op, const Unit& unit, int worker);
  void chunk(const Attention& op, const Unit& unit, std::int64_t index, int worker, Result result);
  // total = total and part together.
  static void merge(const Machine& machine, std::int64_t row, std::int64_t value_dim, Result total,
                    Result part);
  void finish(const Attention& op, const Unit& unit, std::int64_t row, Result total) const;
  static Result result_at(float* memory, std::int64_t value_dim);

  Machine machine_;
  std::vector<Unit> units_;
  std::vector<std::size_t> unit_of_task_;
  GrowingArray<float> scratch_;  // of each worker: scores, two results
  GrowingArray<float> results_;  // [chunks of a wave]
};

}  // namespace krasis::cpu
