// The GPUs of this machine and the operations on one of them. Names no type of CUDA; without the
// CUDA compiler src/cuda_none stands behind it and there are no GPUs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ops/ops.h"
#include "residency/placement.h"

namespace krasis::cuda {

struct Device {
  int index = 0;     // as the driver counts
  std::string name;  // "NVIDIA H100 80GB HBM3"
  std::size_t total_bytes = 0;
  std::size_t free_bytes = 0;  // 0 where it cannot be used
  std::string problem;         // why it cannot be used, one sentence; empty if it can
};

struct Devices {
  std::vector<Device> found;
  std::string problem;  // why there are none or none can be asked for: no GPU, no driver, ...

  // Why that one cannot be used, one sentence; empty if it can.
  std::string problem_with(int index) const;
};

// Never throws for what the machine lacks.
Devices list_devices();

struct DeviceOptions {
  int index = 0;
  std::size_t vram_limit_bytes = 0;  // of all that is allocated there; 0: what the device has
  std::size_t scratch_bytes = 0;     // for one op's intermediate results; 0: by the memory's size
  bool graphs = true;                // repeat decode steps as graphs
  // For tests: the allocation of this number, counted from 1, finds no memory; 0: none.
  std::int64_t failing_allocation = 0;
  bool pin_experts = true;  // placed ones; false: as where the system refuses
};

// Operations whose pointers are memory of that device (Ops::memory()). Throws Error(Device) if it
// cannot be used, Error(OutOfMemory) where the memory or its limit is too small.
std::unique_ptr<Ops> make_cuda_ops(const DeviceOptions& options);

// Makes `ops`, which came from make_cuda_ops(), responsible for experts that stay in the program's
// own memory: `layers` are its tiled sparse layers in the order that a step goes through them. Once
// an Ops. Returns them as experts() wants them; views that live as long as `ops`. The matrices'
// memory and `processor`, which computes what is left where it lies and is used by nobody else
// meanwhile, outlive it. Throws Error(OutOfMemory), Error(InvalidArgument).
std::span<const ExpertMatrices> place_experts(Ops& ops, std::span<const ExpertMatrices> layers,
                                              const ExpertPlacement& placement, Ops& processor);

// Bytes a second that cross the link to the device from pinned memory, measured for some 20 ms.
// `ops` came from make_cuda_ops(). Throws Error(OutOfMemory), Error(Device).
double measure_link_rate(Ops& ops);

// How often the experts of place_experts() were chosen of late (residency/hot_experts.h), over all
// layers. `ops` came from make_cuda_ops() and has placed experts.
std::vector<float> expert_heat(const Ops& ops);

// Makes the hottest experts of an earlier run the ones that the device's memory holds. Before the
// first step. Throws Error(InvalidArgument) if `heat` is of other experts.
void set_expert_heat(Ops& ops, std::span<const float> heat);

// When a layer's experts were copied and computed, milliseconds after the beginning of the pass.
struct LayerTimes {
  double copy_begin_ms, copy_end_ms;
  double experts_begin_ms, experts_end_ms;
};

// Of each layer of placed experts in the last pass in which all of them were streamed; nothing if
// there was none. `ops` came from make_cuda_ops(). Waits for the pass to end.
std::vector<LayerTimes> pass_times(const Ops& ops);

// How a layer's experts were divided between the three ways, and how long each took. Milliseconds
// after the layer's routing was known to the device.
struct WayTimes {
  int layer = 0;  // among those that were placed
  std::int64_t tokens = 0;
  std::int64_t resident = 0, copied = 0, processed = 0;  // experts
  std::int64_t ahead = 0;   // of those copied: before the routing, whether or not they were chosen
  double predicted_ms = 0;  // until the later one of link and processor ends
  double residents_end_ms = 0;  // those in the device's memory are computed
  double copy_begin_ms = 0, copy_end_ms = 0;
  double host_ms = 0;       // until the host had divided them and queued what the device does
  double processor_ms = 0;  // how long the processor computed
  double end_ms = 0;
};

// Of each layer, and each part that it was called for, of the last pass by ways, as far as it came;
// nothing if there was none. Waits for the pass to end.
std::vector<WayTimes> way_times(const Ops& ops);

// (token, expert) pairs of all steps so far that were repeated as graphs, and those of them whose
// expert the processor computed. Of placed experts; zeros without.
struct DecodePairs {
  std::uint64_t all = 0, on_processor = 0;
};
DecodePairs decode_pairs(const Ops& ops);

// Where steps that were repeated as graphs have spent their time so far: seconds over all layers in
// which the processor had a part. Without placed experts: zeros.
struct DecodeTimes {
  std::uint64_t layers = 0;
  double between = 0;    // the device: from one layer's experts to the next one's in a step
  double asking = 0;     // the device: until the question is in the program's memory
  double waiting = 0;    // until the device has seen the answer; the processor's time is in this
  double processor = 0;  // from seeing the question to writing the answer
  double adding = 0;     // the device
};
DecodeTimes decode_times(const Ops& ops);

}  // namespace krasis::cuda
