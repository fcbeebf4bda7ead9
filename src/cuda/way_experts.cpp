#include "cuda/way_experts.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "base/error.h"
#include "cuda/elementwise.h"
#include "cuda/expert_choice.h"
#include "cuda/experts.h"

namespace krasis::cuda {
namespace {

constexpr std::size_t kMostAreas = 2;  // one is filled while the ops read the other

// With so many tokens an expert on average, few experts are not chosen at all.
constexpr std::int64_t kTokensForAhead = 8;

// Nothing may be reading or writing the old memory.
void reserve(PinnedBuffer& buffer, std::size_t bytes, const Stream& main) {
  if (bytes <= buffer.bytes()) return;
  main.synchronize();
  buffer = PinnedBuffer(bytes + bytes / 4);
}

double ms_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

template <class T>
void queue_download(PinnedBuffer& to, std::span<const T> from, const Stream& main) {
  check(cudaMemcpyAsync(to.data(), from.data(), from.size_bytes(), cudaMemcpyDeviceToHost,
                        main.get()),
        "copying the routing from the device");
}

}  // namespace

// The device's side of one call.
struct WayExperts::Call {
  const Experts& op;
  const Launch& launch;
  std::int32_t* kept = nullptr;       // [pairs]
  const std::byte** table = nullptr;  // [experts] of a round
  MutableRows partial;                // [tokens, hidden]
  bool begun = false;                 // op.out holds the sum of something

  Call(const Experts& given, const Launch& with) : op(given), launch(with) {
    Scratch& scratch = launch.scratch;
    const auto numbers = static_cast<std::size_t>(op.out.rows * op.out.cols);
    kept = scratch.take_as<std::int32_t>(op.ids.size());
    table = scratch.take_as<const std::byte*>(static_cast<std::size_t>(op.matrices.experts));
    partial = {scratch.take_as<float>(numbers), op.out.rows, op.out.cols};
  }

  // op.out += rows
  void add(Rows rows) {
    if (begun) {
      cuda::add({.x = op.out, .y = rows, .out = op.out}, launch);
    } else {
      cuda::copy({.x = rows, .out = op.out}, launch);
    }
    begun = true;
  }
};

WayExperts::WayExperts(const PlacedContext& context)
    : context_(context), last_tokens_(context.layers.size()) {
  const std::size_t bytes = context.slots.slot_bytes();
  const std::size_t fit = context.ring.size() / bytes;
  const std::size_t areas = std::min(fit, kMostAreas);
  if (areas == 0) {
    throw Error(ErrorCode::Internal, "way experts: an expert of " + std::to_string(bytes) +
                                         " bytes does not fit in the ring of " +
                                         std::to_string(context.ring.size()));
  }
  area_experts_ = fit / areas;
  for (std::size_t i = 0; i < areas; ++i)
    areas_.emplace_back().memory = &context.ring[i * area_experts_ * bytes];
}

void WayExperts::begin_pass(std::int64_t tokens, std::int64_t parts) {
  placement_ = context_.rates.for_prompts();
  prompt_factor_ = context_.rates.prompt_factor();
  allowed_ = allowed_ways(placement_, tokens);
  whole_ = parts == 1;
  ahead_.layer = -1;
  clocks_used_ = 0;
  // What an earlier pass left unfinished may still read the ring.
  begun_.record(context_.main);
  begun_.wait_on(context_.copies.stream());
}

bool WayExperts::all_resident(int layer) const {
  const std::int64_t experts = context_.layers[static_cast<std::size_t>(layer)].experts;
  for (std::int64_t e = 0; e < experts; ++e)
    if (context_.slots.slot_of(layer, static_cast<int>(e)) < 0) return false;
  return true;
}

WayExperts::Clock& WayExperts::next_clock() {
  if (clocks_used_ == clocks_.size()) clocks_.emplace_back();
  Clock& clock = clocks_[clocks_used_];
  clock.counts = {};
  return clock;
}

void WayExperts::run(const Experts& op, const Launch& launch) {
  ensure(launch.stream == context_.main.get(), "way experts: not on the main stream");
  if (op.x.rows == 0) return;
  const int layer = op.matrices.placed;
  const std::byte* const* residents = context_.slots.table(layer);
  if (all_resident(layer)) return experts_at(residents, op, launch);

  Clock& clock = next_clock();
  clock.counts.layer = layer;
  clock.counts.tokens = op.x.rows;
  Call call(op, launch);
  download(op, clock);
  // With the processor the bits are not those of all resident anyway: no waiting for the routing.
  if (allowed_.processor && context_.slots.count() > 0) run_at(call, residents);
  clock.residents.record(context_.main);
  clock.routed.synchronize();
  const auto routed = std::chrono::steady_clock::now();
  divide_experts(op, clock);
  run_copies(call, clock);
  clock.counts.host_ms = ms_since(routed);
  run_processor(call, clock);
  clock.done.record(context_.main);
  ++clocks_used_;  // one that throws before this has no times
  copy_ahead(op);
}

void WayExperts::download(const Experts& op, Clock& clock) {
  const Stream& main = context_.main;
  const auto row_bytes = static_cast<std::size_t>(op.x.cols) * sizeof(float);
  const auto rows = static_cast<std::size_t>(op.x.rows);
  reserve(ids_, op.ids.size_bytes(), main);
  queue_download(ids_, op.ids, main);
  if (allowed_.processor) {
    reserve(weights_, op.weights.size_bytes(), main);
    reserve(x_, rows * row_bytes, main);
    reserve(sums_, rows * row_bytes, main);
    queue_download(weights_, op.weights, main);
  }
  clock.routed.record(main);
  if (!allowed_.processor) return;
  check(cudaMemcpy2DAsync(x_.data(), row_bytes, op.x.data,
                          static_cast<std::size_t>(op.x.stride) * sizeof(float), row_bytes, rows,
                          cudaMemcpyDeviceToHost, main.get()),
        "copying activations from the device");
  downloaded_.record(main);
}

void WayExperts::divide_experts(const Experts& op, Clock& clock) {
  const auto experts = static_cast<std::size_t>(op.matrices.experts);
  const std::span<const std::int32_t> ids(ids_.as<std::int32_t>(), op.ids.size());
  tokens_.assign(experts, 0);
  ways_.assign(experts, Way::None);
  for (const std::int32_t id : ids) {
    if (id < -1 || id >= op.matrices.experts) {
      throw Error(ErrorCode::Internal, "experts: the device chose expert " + std::to_string(id) +
                                           " of " + std::to_string(experts));
    }
    if (id >= 0) ++tokens_[static_cast<std::size_t>(id)];
  }
  for (std::size_t e = 0; e < experts; ++e) {
    if (context_.slots.slot_of(op.matrices.placed, static_cast<int>(e)) >= 0)
      ways_[e] = Way::Resident;
  }
  WayCosts costs = way_costs(placement_, op.matrices.tiled->expert_bytes);
  copies_.clear();
  if (ahead_.layer == op.matrices.placed) {
    copies_ = ahead_.experts;
    for (const std::int32_t e : copies_) ways_[static_cast<std::size_t>(e)] = Way::Resident;
    const double all = costs.copy * static_cast<double>(copies_.size());
    // Not by the clock: the same prompt gives the same sums.
    costs.link_busy = std::max(all - seconds_between(op.x.rows), 0.0);
  }
  WayTimes& counts = clock.counts;
  counts.predicted_ms = 1e3 * divide(tokens_, costs, allowed_, ways_);
  processor_seconds_ = processor_seconds(tokens_, ways_, costs);
  counts.ahead = static_cast<std::int64_t>(copies_.size());
  counts.resident = std::ranges::count(ways_, Way::Resident);
  for (const std::int32_t e : copies_)
    if (tokens_[static_cast<std::size_t>(e)] > 0) --counts.resident;
  for (std::size_t e = 0; e < experts; ++e)
    if (ways_[e] == Way::Copy) copies_.push_back(static_cast<std::int32_t>(e));
  counts.copied = static_cast<std::int64_t>(copies_.size());
  counts.processed = std::ranges::count(ways_, Way::Processor);
  last_tokens_[static_cast<std::size_t>(op.matrices.placed)] = tokens_;
}

// Of those that are not resident the ones that were chosen most, half as many as this layer had
// copied: the link has them done not long after the next routing is known.
void WayExperts::copy_ahead(const Experts& op) {
  ahead_.layer = -1;
  const auto next = static_cast<std::size_t>(op.matrices.placed) + 1;
  if (!allowed_.copy || !whole_ || areas_.size() < 2 || next == context_.layers.size()) return;
  const std::int64_t experts = context_.layers[next].experts;
  if (static_cast<std::int64_t>(op.ids.size()) < kTokensForAhead * experts) return;
  const std::size_t count = std::min(area_experts_, copies_.size() / 2);

  std::vector<std::int32_t>& chosen = ahead_.experts;
  chosen.clear();
  for (std::int32_t e = 0; e < static_cast<std::int32_t>(experts); ++e)
    if (context_.slots.slot_of(static_cast<int>(next), e) < 0) chosen.push_back(e);
  const std::vector<std::int32_t>& tokens = last_tokens_[next];
  if (context_.placement.adaptive && !tokens.empty()) {
    std::ranges::stable_sort(chosen, std::ranges::greater(),
                             [&](std::int32_t e) { return tokens[static_cast<std::size_t>(e)]; });
  }
  chosen.resize(std::min(chosen.size(), count));
  if (chosen.empty()) return;
  std::ranges::sort(chosen);
  ahead_.area = &next_area();
  ahead_.area->used.wait_on(context_.copies.stream());
  copy_experts(static_cast<int>(next), chosen, ahead_.area->memory);
  ahead_.layer = static_cast<int>(next);
}

WayExperts::Area& WayExperts::next_area() {
  Area& area = areas_[next_area_];
  next_area_ = (next_area_ + 1) % areas_.size();
  return area;
}

// Neighbours are one copy.
void WayExperts::copy_experts(int layer, std::span<const std::int32_t> experts, std::byte* to) {
  const ExpertMatrices::Tiled& tiled = *context_.layers[static_cast<std::size_t>(layer)].tiled;
  for (std::size_t first = 0; first < experts.size();) {
    std::size_t last = first + 1;
    while (last < experts.size() && experts[last] == experts[last - 1] + 1) ++last;
    context_.copies.copy(to + first * tiled.expert_bytes,
                         tiled.base + static_cast<std::size_t>(experts[first]) * tiled.expert_bytes,
                         (last - first) * tiled.expert_bytes);
    first = last;
  }
}

void WayExperts::run_copies(Call& call, Clock& clock) {
  const Experts& op = call.op;
  const Stream& copying = context_.copies.stream();
  const auto experts = static_cast<std::size_t>(op.matrices.experts);
  const std::size_t bytes = op.matrices.tiled->expert_bytes;
  const std::size_t rounds = (copies_.size() + area_experts_ - 1) / area_experts_;
  reserve(addresses_, std::max<std::size_t>(rounds, 1) * experts * sizeof(const std::byte*),
          context_.main);
  if (rounds == 0 && !call.begun && context_.slots.count() > 0)
    run_at(call, context_.slots.table(op.matrices.placed));
  clock.copying.record(copying);
  for (std::size_t round = 0; round < rounds; ++round) {
    const bool begun_ahead = round == 0 && clock.counts.ahead > 0;
    Area& area = begun_ahead ? *ahead_.area : next_area();
    const std::size_t there = begun_ahead ? static_cast<std::size_t>(clock.counts.ahead) : 0;
    const std::size_t first = round * area_experts_;
    const auto some =
        std::span(copies_).subspan(first, std::min(area_experts_, copies_.size() - first));
    if (!begun_ahead) area.used.wait_on(copying);
    copy_experts(op.matrices.placed, some.subspan(there), area.memory + there * bytes);
    clock.copied.record(copying);

    const std::byte** addresses = addresses_.as<const std::byte*>() + round * experts;
    std::fill_n(addresses, experts, nullptr);
    for (std::size_t i = 0; i < some.size(); ++i)
      addresses[static_cast<std::size_t>(some[i])] = area.memory + i * bytes;
    if (!call.begun) {  // residents with the first round: the same bits as all at once
      for (std::size_t e = 0; e < experts; ++e) {
        const auto slot = context_.slots.slot_of(op.matrices.placed, static_cast<int>(e));
        if (slot >= 0) addresses[e] = context_.slots.slot(slot);
      }
    }
    clock.copied.wait_on(context_.main);
    load_addresses(addresses, op.matrices.experts, call.table, call.launch);
    run_at(call, call.table);
    area.used.record(context_.main);
  }
  if (rounds == 0) clock.copied.record(copying);
}

// Adds what the experts at hand by the table give.
void WayExperts::run_at(Call& call, const std::byte* const* table) {
  keep_experts_at(table, call.op.ids, call.kept, call.launch);
  Experts some = call.op;
  some.ids = {call.kept, call.op.ids.size()};
  if (call.begun) some.out = call.partial;
  Scratch rest = call.launch.scratch.rest();
  const Launch& with = call.launch;
  experts_at(table, some, {with.stream, rest, with.device, with.tables, with.cublas});
  if (call.begun) call.add(call.partial);
  call.begun = true;
}

void WayExperts::run_processor(Call& call, Clock& clock) {
  const Experts& op = call.op;
  if (clock.counts.processed == 0) {
    if (!call.begun) {  // no token has any expert
      check(cudaMemset2DAsync(op.out.data, static_cast<std::size_t>(op.out.stride) * sizeof(float),
                              0, static_cast<std::size_t>(op.out.cols) * sizeof(float),
                              static_cast<std::size_t>(op.out.rows), context_.main.get()),
            "clearing the experts' sums");
    }
    return;
  }
  const auto* ids = ids_.as<std::int32_t>();
  left_.resize(op.ids.size());
  std::ranges::transform(ids, ids + op.ids.size(), left_.begin(), [&](std::int32_t id) {
    return id >= 0 && ways_[static_cast<std::size_t>(id)] == Way::Processor ? id : -1;
  });
  const MutableRows sums(sums_.as<float>(), op.out.rows, op.out.cols);
  downloaded_.synchronize();
  const auto start = std::chrono::steady_clock::now();
  context_.processor.experts(
      {.x = {x_.as<float>(), op.x.rows, op.x.cols},
       .ids = left_,
       .weights = {weights_.as<float>(), op.weights.size()},
       .top_k = op.top_k,
       .matrices = context_.layers[static_cast<std::size_t>(op.matrices.placed)],
       .out = sums});
  context_.processor.synchronize();
  clock.counts.processor_ms = ms_since(start);
  context_.rates.observe_prompt(1e-3 * clock.counts.processor_ms, processor_seconds_,
                                prompt_factor_);
  call.add(sums);  // the device reads the program's memory
}

std::vector<WayTimes> WayExperts::times() const {
  std::vector<WayTimes> times;
  for (std::size_t i = 0; i < clocks_used_; ++i) {
    const Clock& clock = clocks_[i];
    clock.done.synchronize();
    WayTimes& at = times.emplace_back(clock.counts);
    at.residents_end_ms = clock.residents.ms_since(clock.routed);
    at.copy_begin_ms = clock.copying.ms_since(clock.routed);
    at.copy_end_ms = clock.copied.ms_since(clock.routed);
    at.end_ms = clock.done.ms_since(clock.routed);
  }
  return times;
}

}  // namespace krasis::cuda
