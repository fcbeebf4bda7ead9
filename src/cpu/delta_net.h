// ops/delta_net.h on the processor.
#pragma once

#include "cpu/machine.h"
#include "cpu/tile_runner.h"
#include "ops/delta_net.h"

namespace krasis::cpu {

void delta_gates(const Machine& machine, const DeltaGates& op);

class DeltaNetRunner {
 public:
  explicit DeltaNetRunner(const Machine& machine) : machine_(machine) {}
  void causal_conv(const CausalConv& op);
  void delta_net(const DeltaNet& op);

 private:
  struct Part;

  void conv_part(const CausalConv& op, const Segment& segment, std::int64_t first, int worker);
  void delta_part(const DeltaNet& op, const Part& part, int worker);

  Machine machine_;
  GrowingArray<float> scratch_;        // of each worker
  GrowingArray<const float*> inputs_;  // of each worker: [width]
};

}  // namespace krasis::cpu
