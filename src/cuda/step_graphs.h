// Steps that were run before, as CUDA graphs: one launch instead of a thousand.
#pragma once

#include <cuda_runtime_api.h>
#include <functional>
#include <map>

#include "cuda/runtime.h"
#include "cuda/step_tables.h"
#include "ops/ops.h"

namespace krasis::cuda {

class StepGraphs {
 public:
  // The stream outlives the graphs. Without `enabled`, every step is run as it comes.
  StepGraphs(const Stream& stream, bool enabled) : stream_(stream), enabled_(enabled) {}
  StepGraphs(const StepGraphs&) = delete;
  StepGraphs& operator=(const StepGraphs&) = delete;
  ~StepGraphs();

  // The first time, runs `work`, so that whatever grows with a step has grown. The second time,
  // captures it; from then on, launches what was captured. A step that cannot be captured is run.
  void run(const StepKey& key, const StepPlan& plan, const std::function<void()>& work);

 private:
  struct Key {
    StepKey step;
    StepPlan plan;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  struct Entry {
    bool capturable = true;
    cudaGraphExec_t graph = nullptr;
  };
  bool capture(Entry& entry, const std::function<void()>& work) const;
  void clear();

  const Stream& stream_;
  bool enabled_;
  std::map<Key, Entry> entries_;
};

}  // namespace krasis::cuda
