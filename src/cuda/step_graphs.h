// Steps that were run before, as CUDA graphs: one launch instead of a thousand.
#pragma once

#include <cuda_runtime_api.h>
#include <functional>
#include <map>

#include "cuda/runtime.h"
#include "cuda/step_tables.h"
#include "ops/ops.h"

namespace krasis::cuda {

// The processor's part of steps: ops of a step that is run as it comes do it themselves, those of a
// captured one do not.
class StepPartner {
 public:
  StepPartner() = default;
  StepPartner(const StepPartner&) = delete;
  StepPartner& operator=(const StepPartner&) = delete;
  virtual ~StepPartner() = default;

  virtual void begin_capture() = 0;
  // What must be called after each launch of what was captured; empty: nothing.
  virtual std::function<void()> end_capture() = 0;
};

class StepGraphs {
 public:
  // The stream outlives the graphs. Without `enabled`, every step is run as it comes.
  StepGraphs(const Stream& stream, bool enabled) : stream_(stream), enabled_(enabled) {}
  StepGraphs(const StepGraphs&) = delete;
  StepGraphs& operator=(const StepGraphs&) = delete;
  ~StepGraphs();

  // The first time, runs `work`, so that whatever grows with a step has grown. The second time,
  // captures it; from then on, launches what was captured. A step that cannot be captured is run,
  // as is one for whose graph there is no memory. `partner`: nullptr, or who has a part in all
  // steps.
  void run(const StepKey& key, const StepPlan& plan, const std::function<void()>& work,
           StepPartner* partner);

  // Nothing that was launched is under way.
  void clear();

 private:
  struct Key {
    StepKey step;
    StepPlan plan;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  struct Entry {
    bool capturable = true;
    cudaGraphExec_t graph = nullptr;
    std::function<void()> partners_part;
  };
  bool capture(Entry& entry, const std::function<void()>& work, StepPartner* partner) const;
  bool launch(Entry& entry) const;

  const Stream& stream_;
  bool enabled_;
  std::map<Key, Entry> entries_;
};

}  // namespace krasis::cuda
