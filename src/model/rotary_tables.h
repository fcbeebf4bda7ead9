// Cosines and sines of a step's positions, once for all layers that rotate alike.
#pragma once

#include <vector>

#include "arch/model_spec.h"
#include "model/workspace.h"
#include "ops/memory.h"
#include "ops/ops.h"

namespace krasis {

struct RotaryRows {
  Rows cosine, sine;  // [tokens, rotary_dim / 2]
};

class RotaryTables {
 public:
  // The number of the table for this rotary; `interleaved` does not matter to it. `memory`: the
  // ops'.
  std::size_t add(const RotarySpec& rotary, Memory& memory);

  // Fills all tables for the positions [tokens], which are in the ops' memory. They live as long as
  // the workspace's scope.
  void compute(std::span<const std::int32_t> positions, Ops& ops, Workspace& workspace);

  const RotaryRows& operator[](std::size_t table) const { return rows_[table]; }

 private:
  std::vector<RotarySpec> specs_;
  std::vector<Buffer> frequencies_;  // of specs_, in the ops' memory
  std::vector<RotaryRows> rows_;
};

}  // namespace krasis
