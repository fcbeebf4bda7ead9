#include "residency/pass_plan.h"

#include <algorithm>

#include "base/error.h"

namespace krasis {
namespace {

using Kind = PassStep::Kind;

class Planner {
 public:
  explicit Planner(int slots) : slots_(slots) {}

  void load(int layer) { add(Kind::Load, layer); }
  void await(int layer) { add(Kind::Await, layer); }
  void compute(int layer) {
    add(Kind::Compute, layer);
    add(Kind::Drop, layer);
  }
  std::vector<PassStep> steps() && { return std::move(steps_); }

 private:
  void add(Kind kind, int layer) { steps_.push_back({kind, layer, layer % slots_}); }

  int slots_;
  std::vector<PassStep> steps_;
};

}  // namespace

std::vector<PassStep> plan_pass(const ExpertPlacement& placement, int layers) {
  check(placement);
  const bool chunked = placement.mode == ExpertMode::Chunked;
  const bool grouped = placement.mode == ExpertMode::Grouped;
  ensure(chunked || grouped || placement.mode == ExpertMode::Auto, "pass plan: no plan has a ring");
  const auto group = static_cast<int>(grouped ? placement.group_layers : 1);
  const int slots = chunked ? 1 : grouped ? 2 * group : static_cast<int>(placement.ring_layers);

  Planner plan(slots);
  int loaded = 0;
  const auto load_until = [&](int layer) {
    for (; loaded < std::min(layer, layers); ++loaded) plan.load(loaded);
  };
  for (int layer = 0; layer < layers; ++layer) {
    if (grouped && layer % group == 0) load_until(layer + 2 * group);
    if (!grouped && !chunked) load_until(layer + slots);
    plan.await(layer);
    if (chunked) load_until(layer + 1);
    plan.compute(layer);
  }
  return std::move(plan).steps();
}

}  // namespace krasis
