#include "cuda/step_graphs.h"

#include <utility>

namespace krasis::cuda {
namespace {

constexpr std::size_t kMaxGraphs = 256;  // a megabyte each, or a few

// Ends the capture also when what is captured throws.
class Capture {
 public:
  explicit Capture(const Stream& stream) : stream_(stream) {
    check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal),
          "starting to capture a step");
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
  ~Capture() {
    cudaGraph_t graph = end();
    if (graph != nullptr) static_cast<void>(cudaGraphDestroy(graph));
  }

  // The graph, or nullptr if something in it cannot be captured.
  cudaGraph_t end() {
    if (ended_) return nullptr;
    ended_ = true;
    cudaGraph_t graph = nullptr;
    if (cudaStreamEndCapture(stream_.get(), &graph) != cudaSuccess) {
      static_cast<void>(cudaGetLastError());
      return nullptr;
    }
    return graph;
  }

 private:
  const Stream& stream_;
  bool ended_ = false;
};

// The partner's share of a capture, ended like it.
class PartnersCapture {
 public:
  PartnersCapture(StepPartner* partner, std::function<void()>& part)
      : partner_(partner), part_(part) {
    if (partner_ != nullptr) partner_->begin_capture();
  }
  PartnersCapture(const PartnersCapture&) = delete;
  PartnersCapture& operator=(const PartnersCapture&) = delete;
  ~PartnersCapture() {
    if (partner_ != nullptr) part_ = partner_->end_capture();
  }

 private:
  StepPartner* partner_;
  std::function<void()>& part_;
};

}  // namespace

StepGraphs::~StepGraphs() {
  clear();
}

void StepGraphs::clear() {
  for (auto& [key, entry] : entries_)
    if (entry.graph != nullptr) static_cast<void>(cudaGraphExecDestroy(entry.graph));
  entries_.clear();
}

void StepGraphs::run(const StepKey& key, const StepPlan& plan, const std::function<void()>& work,
                     StepPartner* partner) {
  if (!enabled_) return work();
  const Key whole = {key, plan};
  const auto found = entries_.find(whole);
  if (found == entries_.end()) {
    if (entries_.size() == kMaxGraphs) clear();
    entries_.try_emplace(whole);
    return work();
  }
  Entry& entry = found->second;
  if (entry.graph == nullptr && entry.capturable) entry.capturable = capture(entry, work, partner);
  if (entry.graph == nullptr || !launch(entry)) return work();
  if (entry.partners_part) entry.partners_part();
}

// False if there is no memory for it: a graph takes some when it is launched, too.
bool StepGraphs::launch(Entry& entry) const {
  const cudaError_t launched = cudaGraphLaunch(entry.graph, stream_.get());
  if (launched != cudaErrorMemoryAllocation) {
    check(launched, "launching a step");
    return true;
  }
  static_cast<void>(cudaGetLastError());
  static_cast<void>(cudaGraphExecDestroy(std::exchange(entry.graph, nullptr)));
  entry.capturable = false;
  return false;
}

bool StepGraphs::capture(Entry& entry, const std::function<void()>& work,
                         StepPartner* partner) const {
  cudaGraph_t graph = nullptr;
  {
    const PartnersCapture with_partner(partner, entry.partners_part);
    Capture capture(stream_);
    work();
    graph = capture.end();
  }
  if (graph == nullptr) return false;
  const cudaError_t made = cudaGraphInstantiate(&entry.graph, graph, 0);
  static_cast<void>(cudaGraphDestroy(graph));
  if (made == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    entry.graph = nullptr;
    return false;
  }
  check(made, "making a step's graph");
  return true;
}

}  // namespace krasis::cuda
