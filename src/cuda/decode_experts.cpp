#include "cuda/decode_experts.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <utility>

#include "base/error.h"
#include "cuda/experts.h"
#include "cuda/placed_experts.h"

namespace krasis::cuda {
namespace {

// So many pairs at once are divided, as many as products with few rows are made for.
constexpr std::int64_t kPartPairs = 640;

std::int64_t largest_hidden(std::span<const ExpertMatrices> layers) {
  std::int64_t hidden = 0;
  for (const ExpertMatrices& layer : layers) {
    if (layer.experts < 2) {
      throw Error(ErrorCode::Unsupported,
                  "placed experts: layer " + std::to_string(layer.placed) + " has " +
                      std::to_string(layer.experts) +
                      " experts, at least 2 can be placed; keep them in the device's memory");
    }
    hidden = std::max(hidden, layer.hidden);
  }
  return hidden;
}

// Of the device's own part of a question, beside reading experts over the link.
constexpr double kOwnSeconds = 6e-6;

}  // namespace

DecodeExperts::DecodeExperts(const PlacedContext& context)
    : context_(context),
      mailbox_(context.memory, largest_hidden(context.layers),
               std::chrono::milliseconds(std::lround(1e3 * context.placement.patience))) {
  begin_step();
}

DecodeExperts::Job DecodeExperts::queue(const Experts& op, unsigned* counts, const Launch& launch) {
  const auto experts = static_cast<std::size_t>(op.matrices.experts);
  const ExpertMatrices& layer = context_.layers[static_cast<std::size_t>(op.matrices.placed)];
  Scratch again = launch.scratch;  // the parts follow each other on the stream in one memory
  auto* const table = again.take_as<const std::byte*>(experts);
  auto* const ids = again.take_as<int>(op.ids.size());
  mailbox_.ask({.x = op.x,
                .ids = op.ids.data(),
                .weights = op.weights.data(),
                .top_k = static_cast<int>(op.top_k),
                .experts = static_cast<int>(op.matrices.experts),
                .resident = context_.slots.table(op.matrices.placed),
                .base = context_.copies.readable_in_place() ? layer.tiled->base : nullptr,
                .expert_bytes = layer.tiled->expert_bytes,
                .begins_step = op.matrices.placed == 0,
                .table = table,
                .device_ids = ids,
                .counts = counts},
               launch);
  Experts own = op;
  own.ids = {ids, op.ids.size()};
  experts_at(table, own, {launch.stream, again, launch.device, launch.tables, launch.cublas});
  mailbox_.add_answer(op.out, launch);
  return {op.matrices.placed, op.x.rows, op.top_k};
}

void DecodeExperts::run(const Experts& op, unsigned* counts, const Launch& launch) {
  if (op.top_k > kMailboxPairs) {
    throw Error(ErrorCode::Unsupported, "placed experts: " + std::to_string(op.top_k) +
                                            " experts a token, at most " +
                                            std::to_string(kMailboxPairs) + " can be divided");
  }
  const std::int64_t part = std::clamp<std::int64_t>(kPartPairs / op.top_k, 1, kMailboxTokens);
  for (std::int64_t first = 0; first < op.x.rows; first += part) {
    const std::int64_t tokens = std::min(part, op.x.rows - first);
    const auto pairs = static_cast<std::size_t>(tokens * op.top_k);
    const auto first_pair = static_cast<std::size_t>(first * op.top_k);
    Experts some = op;
    some.x = op.x.slice(first, tokens);
    some.out = op.out.slice(first, tokens);
    some.ids = op.ids.subspan(first_pair, pairs);
    some.weights = op.weights.subspan(first_pair, pairs);
    if (capturing_) {
      captured_.push_back(queue(some, counts, launch));
      continue;
    }
    try {
      const Job job = queue(some, counts, launch);
      compute(std::span(&job, 1));
    } catch (...) {
      mailbox_.abandon(context_.main);
      throw;
    }
  }
}

void DecodeExperts::compute(std::span<const Job> jobs) {
  for (const Job& job : jobs) {
    const auto pairs = static_cast<std::size_t>(job.tokens * job.top_k);
    pairs_.all += pairs;
    if (!mailbox_.next_question(context_.main)) continue;
    const ExpertMatrices& layer = context_.layers[static_cast<std::size_t>(job.layer)];
    const auto start = std::chrono::steady_clock::now();
    // The device writes the next question over this one once it is answered, or waits no longer.
    ids_.assign(mailbox_.ids(), mailbox_.ids() + pairs);
    weights_.assign(mailbox_.weights(), mailbox_.weights() + pairs);
    pairs_.on_processor += pairs - static_cast<std::size_t>(std::ranges::count(ids_, -1));
    context_.processor.experts({.x = Rows(mailbox_.x(), job.tokens, layer.hidden),
                                .ids = ids_,
                                .weights = weights_,
                                .top_k = job.top_k,
                                .matrices = layer,
                                .out = MutableRows(mailbox_.sums(), job.tokens, layer.hidden)});
    mailbox_.answer();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    work_.seconds += took.count();
    work_.bytes += static_cast<double>(experts_asked_for(layer.experts)) *
                   static_cast<double>(layer.tiled->expert_bytes);
    ++work_.calls;
  }
}

std::size_t DecodeExperts::experts_asked_for(std::int64_t experts) {
  seen_.assign(static_cast<std::size_t>(experts), 0);
  std::size_t count = 0;
  for (const std::int32_t id : ids_) {
    if (id < 0) continue;
    std::uint8_t& seen = seen_[static_cast<std::size_t>(id)];
    count += seen == 0 ? 1 : 0;
    seen = 1;
  }
  return count;
}

void DecodeExperts::begin_step() {
  const MailboxTimes times = mailbox_.times();
  const auto bytes = static_cast<double>(context_.slots.slot_bytes());
  const auto by_link = static_cast<double>(times.by_link - known_times_.by_link);
  const auto questions = static_cast<double>(times.link_questions - known_times_.link_questions);
  const double link_seconds = 1e-9 * static_cast<double>(times.link_ns - known_times_.link_ns);
  LearnedRates& rates = context_.rates;
  rates.observe_processor(work_.bytes - known_work_.bytes, work_.seconds - known_work_.seconds,
                          work_.calls - known_work_.calls);
  rates.observe_link(bytes * by_link, link_seconds - kOwnSeconds * questions);
  known_times_ = times;
  known_work_ = work_;
  const StepCosts costs = rates.step_costs(context_.slots.slot_bytes());
  if (costs == costs_) return;
  mailbox_.set_costs(costs, context_.main);
  costs_ = costs;
}

DecodeTimes DecodeExperts::times() const {
  const MailboxTimes times = mailbox_.times();
  const auto seconds = [](std::uint64_t ns) { return 1e-9 * static_cast<double>(ns); };
  return {.layers = times.questions,
          .between = seconds(times.between_ns),
          .asking = seconds(times.asking_ns),
          .waiting = seconds(times.waiting_ns),
          .processor = work_.seconds,
          .adding = seconds(times.adding_ns)};
}

void DecodeExperts::begin_capture() {
  captured_.clear();
  capturing_ = true;
}

std::function<void()> DecodeExperts::end_capture() {
  capturing_ = false;
  return [this, jobs = std::exchange(captured_, {})] {
    try {
      compute(jobs);
    } catch (...) {
      mailbox_.abandon(context_.main);
      throw;
    }
  };
}

void DecodeExperts::check_answers() {
  if (!mailbox_.timed_out()) return;
  mailbox_.abandon(context_.main);
  const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(mailbox_.patience());
  throw Error(ErrorCode::Device,
              "cuda: the processor did not compute a step's experts within " +
                  std::to_string(waited.count()) +
                  " ms, the step's results are lost; end what else keeps the processor busy");
}

}  // namespace krasis::cuda
