#include "cuda/cuda_ops.h"

#include <algorithm>

#include "base/error.h"
#include "cuda/attention.h"
#include "cuda/attention_expanded.h"
#include "cuda/delta_net.h"
#include "cuda/elementwise.h"
#include "cuda/experts.h"
#include "cuda/linear.h"
#include "cuda/linear_plan.h"
#include "cuda/rotary.h"
#include "cuda/route.h"
#include "cuda/top_logits.h"
#include "residency/device_sizes.h"

namespace krasis::cuda {
namespace {

// Up to so many tokens an op leaves most of a device idle, and two run beside each other; three
// with the products for so few tokens that they need little memory.
constexpr int kBesideTokens = 16;
constexpr int kThreeLanesTokens = static_cast<int>(kLinearVectorTokens);
constexpr std::size_t kThirdLaneBytes = std::size_t{8} << 20;  // of kSideScratchBytes

DeviceProperties properties_of(int device) {
  const auto attribute = [&](cudaDeviceAttr which) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, which, device), "reading a device's attributes");
    return value;
  };
  return {
      .multiprocessors = attribute(cudaDevAttrMultiProcessorCount),
      .capability = attribute(cudaDevAttrComputeCapabilityMajor) * 10 +
                    attribute(cudaDevAttrComputeCapabilityMinor),
      .shared_bytes = static_cast<std::size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)),
      .l2_bytes = static_cast<std::size_t>(attribute(cudaDevAttrL2CacheSize))};
}

// Before any member that needs a current device.
int chosen(int device) {
  check(cudaSetDevice(device), "choosing the device");
  return device;
}

std::size_t scratch_for(const Device& device, const DeviceOptions& options) {
  if (options.scratch_bytes > 0) return options.scratch_bytes;
  const std::size_t limit = options.vram_limit_bytes;
  return scratch_bytes_of(limit == 0 ? device.total_bytes : std::min(limit, device.total_bytes));
}

}  // namespace

CudaOps::CudaOps(const Device& device, const DeviceOptions& options)
    : name_("cuda (" + device.name + ")"),
      device_(chosen(device.index)),
      properties_(properties_of(device.index)),
      cublas_(CublasLt::load()),
      memory_(device.index, stream_, options),
      scratch_memory_(memory_.allocate(scratch_for(device, options))),
      side_scratch_memory_(memory_.allocate(kSideScratchBytes)),
      main_{&stream_, Scratch(scratch_memory_.data(), scratch_memory_.bytes())},
      pinning_(options.pin_experts ? ExpertCopies::Pinning::Allowed
                                   : ExpertCopies::Pinning::Refused),
      table_writer_(memory_, kMaxTableWords),
      plan_({}, 0),
      graphs_(stream_, options.graphs) {
  std::byte* const scratch = side_scratch_memory_.data();
  sides_[0].lane = {&sides_[0].stream, Scratch(scratch, kSideScratchBytes - kThirdLaneBytes)};
  sides_[1].lane = {&sides_[1].stream,
                    Scratch(scratch + kSideScratchBytes - kThirdLaneBytes, kThirdLaneBytes)};
}

CudaOps::~CudaOps() = default;

RowForm CudaOps::form_for(const Matrix& weight, std::int64_t rows) const {
  return linear_form(weight, rows, cublas_ != nullptr);
}

RowForm CudaOps::form_for(const ExpertMatrices& experts, std::int64_t rows,
                          std::int64_t top_k) const {
  if (experts.placed >= 0 && !placed().stays_on_device()) return RowForm::F32;
  return experts_form(experts, rows, top_k);
}

void CudaOps::begin_step(std::span<const Segment> segments, std::int64_t tokens) {
  check(cudaSetDevice(device_), "choosing the device");  // the calling thread may be a new one
  for (SideLane& side : sides_) {
    if (!side.pending) continue;  // else a step that failed left its work there
    side.stream.synchronize();
    side.pending = false;
  }
  plan_ = StepPlan(segments, tokens);
  tables_ = table_writer_.write(plan_, segments, stream_);
  segments_ = segments;
}

void CudaOps::run_step(const StepKey& key, const std::function<void()>& work) {
  if (placed_ == nullptr) return graphs_.run(key, plan_, work, nullptr);
  placed_->begin_step(plan_.tokens);
  graphs_.run(key, plan_, work, &placed_->step_partner());
}

void CudaOps::forget_steps() {
  stream_.synchronize();
  graphs_.clear();
}

void CudaOps::synchronize() {
  stream_.synchronize();
  if (placed_ != nullptr) placed_->check_step();
}

void CudaOps::begin_pass(std::int64_t tokens, std::int64_t parts) {
  if (placed_ != nullptr) placed_->begin_pass(tokens, parts);
}

void CudaOps::end_pass() {
  if (placed_ != nullptr) placed_->end_pass();
}

std::span<const ExpertMatrices> CudaOps::place_experts(std::span<const ExpertMatrices> layers,
                                                       const ExpertPlacement& placement,
                                                       Ops& processor) {
  ensure(placed_ == nullptr, "cuda: experts were placed before");
  check(cudaSetDevice(device_), "choosing the device");
  placed_ =
      std::make_unique<PlacedExperts>(layers, placement, memory_, stream_, processor, pinning_);
  return placed_->layers();
}

DecodePairs CudaOps::decode_pairs() const {
  return placed_ == nullptr ? DecodePairs() : placed_->decode_pairs();
}

DecodeTimes CudaOps::decode_times() const {
  return placed_ == nullptr ? DecodeTimes() : placed_->decode_times();
}

std::vector<WayTimes> CudaOps::way_times() const {
  return placed_ == nullptr ? std::vector<WayTimes>() : placed_->way_times();
}

PlacedExperts& CudaOps::placed() const {
  ensure(placed_ != nullptr, "cuda: no experts were placed");
  return *placed_;
}

std::vector<LayerTimes> CudaOps::pass_times() const {
  return placed_ == nullptr ? std::vector<LayerTimes>() : placed_->pass_times();
}

void CudaOps::beside(const std::function<void()>& work) {
  if (plan_.tokens > kBesideTokens || lane_ != &main_) return work();
  SideLane& side = sides_[sides_[0].pending && plan_.tokens <= kThreeLanesTokens ? 1 : 0];
  side.forked.record(stream_);
  side.forked.wait_on(side.stream);
  side.pending = true;
  struct BackToMain {
    CudaOps& ops;
    ~BackToMain() { ops.lane_ = &ops.main_; }
  };
  {
    const BackToMain back{*this};
    lane_ = &side.lane;
    work();
  }
  side.joined.record(side.stream);
}

void CudaOps::join() {
  for (SideLane& side : sides_) {
    if (side.pending) side.joined.wait_on(stream_);
    side.pending = false;
  }
}

template <class Op>
void CudaOps::run(void (*kernel)(const Op&, const Launch&), const Op& op) {
  kernel(op, fresh_launch());
}

Launch CudaOps::fresh_launch() {
  lane_->scratch.give_back_all();
  return {lane_->stream->get(), lane_->scratch, properties_, tables_, cublas_.get()};
}

void CudaOps::check_segments(std::span<const Segment> segments) const {
  ensure(segments.data() == segments_.data() && segments.size() == segments_.size(),
         "cuda: begin_step() was given other segments");
}

template <class Op>
void CudaOps::run_segments(void (*kernel)(const Op&, const Launch&), const Op& op) {
  check_segments(op.segments);
  run(kernel, op);
}

void CudaOps::do_embedding(const Embedding& op) {
  run(cuda::embedding, op);
}
void CudaOps::do_rms_norm(const RmsNorm& op) {
  run(cuda::rms_norm, op);
}
void CudaOps::do_gated_rms_norm(const GatedRmsNorm& op) {
  run(cuda::gated_rms_norm, op);
}
void CudaOps::do_add_norm(const AddNorm& op) {
  run(cuda::add_norm, op);
}
void CudaOps::do_add(const Add& op) {
  run(cuda::add, op);
}
void CudaOps::do_copy(const Copy& op) {
  run(cuda::copy, op);
}
void CudaOps::do_sigmoid_multiply(const SigmoidMultiply& op) {
  run(cuda::sigmoid_multiply, op);
}
void CudaOps::do_linear(const Linear& op) {
  run(cuda::linear, op);
}
void CudaOps::do_head_linear(const HeadLinear& op) {
  run(cuda::head_linear, op);
}
void CudaOps::do_rotary_table(const RotaryTable& op) {
  run(cuda::rotary_table, op);
}
void CudaOps::do_rotary(const Rotary& op) {
  run(cuda::rotary, op);
}
void CudaOps::do_kv_append(const KvAppend& op) {
  run_segments(cuda::kv_append, op);
}
void CudaOps::do_attention(const Attention& op) {
  run_segments(cuda::attention, op);
}
void CudaOps::do_attention_over_latents(const AttentionOverLatents& op) {
  check_segments(op.segments);
  const ExpandedPlan plan =
      plan_expanded(op, tables_, properties_, cublas_ != nullptr, lane_->scratch.bytes());
  if (plan.least_rows == 0) return Ops::do_attention_over_latents(op);
  join();
  cuda::attention_over_latents(op, plan, fresh_launch());
}
void CudaOps::do_causal_conv(const CausalConv& op) {
  run_segments(cuda::causal_conv, op);
}
void CudaOps::do_delta_gates(const DeltaGates& op) {
  run(cuda::delta_gates, op);
}
void CudaOps::do_delta_net(const DeltaNet& op) {
  run_segments(cuda::delta_net, op);
}
void CudaOps::do_route(const Route& op) {
  run(cuda::route, op);
}
void CudaOps::do_top_logits(const TopLogits& op) {
  run(cuda::top_logits, op);
}
void CudaOps::do_experts(const Experts& op) {
  run_experts(op, nullptr);
}

void CudaOps::do_experts_and_add(const Experts& op, const Add& sum) {
  const bool here = op.matrices.placed < 0 || placed().stays_on_device();
  if (!here || !experts_add(op.matrices, op.x.rows, op.top_k))
    return Ops::do_experts_and_add(op, sum);
  run_experts(op, &sum);
}

void CudaOps::do_conv_and_delta_net(const CausalConv& conv, const DeltaNet& op) {
  check_segments(conv.segments);
  check_segments(op.segments);
  if (!has_convolved_keys(conv, op)) return Ops::do_conv_and_delta_net(conv, op);
  join();
  cuda::conv_and_delta_net(conv, op, fresh_launch());
}

void CudaOps::run_experts(const Experts& op, const Add* sum) {
  if (op.matrices.placed >= 0) return placed().run(op, fresh_launch(), sum);
  sum == nullptr ? cuda::experts(op, fresh_launch())
                 : cuda::experts_and_add(op, *sum, fresh_launch());
}

}  // namespace krasis::cuda
