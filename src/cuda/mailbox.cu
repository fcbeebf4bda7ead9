#include <algorithm>
#include <atomic>
#include <string>

#include "base/error.h"
#include "cuda/early_start.cuh"
#include "cuda/mailbox.h"
#include "cuda/tensor_core.cuh"

namespace krasis::cuda {
namespace {

constexpr int kPairBits = 16;  // of Words::question
constexpr std::uint64_t kAnyAnswer = ~std::uint64_t{0};

struct Ask {
  ExpertQuestion question;
  Mailbox::Words* words;
  Mailbox::State* state;
  float* x;
  int* ids;
  float* weights;
};

// Where each pair's expert is computed.
struct Division {
  int expert[kMailboxPairs];
  const std::byte* address[kMailboxPairs];  // in device memory, or null
  int leader[kMailboxPairs];                // the first pair of the same expert
  int processor[kMailboxPairs];             // the expert if it is the processor's, or -1
};

constexpr int kAskThreads = 512;

__device__ void find_leaders(Division& d, int pairs) {
  for (int p = static_cast<int>(threadIdx.x); p < pairs; p += kAskThreads) {
    int leader = 0;
    while (d.expert[leader] != d.expert[p]) ++leader;
    d.leader[p] = leader;
  }
}

__device__ inline bool leads_missing(const Division& d, int pair) {
  return d.leader[pair] == pair && d.expert[pair] >= 0 && d.address[pair] == nullptr;
}

// Missing experts that come before the pair's.
__device__ int missing_before(const Division& d, int pair) {
  int count = 0;
  for (int p = 0; p < d.leader[pair]; ++p) count += leads_missing(d, p) ? 1 : 0;
  return count;
}

struct Parts {
  int processor_pairs, by_link;
};

// Of a few tokens: a warp, a pair a lane. Leaves the processor's part in the mailbox too.
__device__ Parts divide_few(const Ask& a, int pairs) {
  const ExpertQuestion& q = a.question;
  const int lane = static_cast<int>(threadIdx.x);
  const int id = lane < pairs ? q.ids[lane] : -1;
  const int expert = id < q.experts ? id : -1;
  const float weight = lane < pairs ? q.weights[lane] : 0;
  const std::byte* address = expert >= 0 ? q.resident[expert] : nullptr;
  if (expert >= 0 && q.counts != nullptr) atomicAdd(&q.counts[expert], 1u);
  const int leader = __ffs(static_cast<int>(__match_any_sync(~0u, expert))) - 1;
  const bool missing = expert >= 0 && address == nullptr;
  const unsigned leaders = __ballot_sync(~0u, missing && leader == lane);
  const int by_link = q.base != nullptr ? experts_by_link(__popc(leaders), a.state->costs) : 0;
  if (missing && __popc(leaders & ((1u << leader) - 1)) < by_link)
    address = q.base + static_cast<std::size_t>(expert) * q.expert_bytes;
  const bool processor = expert >= 0 && address == nullptr;
  if (lane < pairs) {
    if (address != nullptr) q.table[expert] = address;
    q.device_ids[lane] = address != nullptr ? expert : -1;
    a.ids[lane] = processor ? expert : -1;
    a.weights[lane] = weight;
  }
  return {__popc(__ballot_sync(~0u, processor)), by_link};
}

__device__ Parts divide(const Ask& a, Division& d, int pairs) {
  const ExpertQuestion& q = a.question;
  __shared__ int missing, processor_pairs;
  if (threadIdx.x == 0) missing = processor_pairs = 0;
  for (int p = static_cast<int>(threadIdx.x); p < pairs; p += kAskThreads) {
    const int id = q.ids[p];
    const bool exists = id >= 0 && id < q.experts;
    d.expert[p] = exists ? id : -1;
    d.address[p] = exists ? q.resident[id] : nullptr;
    if (exists && q.counts != nullptr) atomicAdd(&q.counts[id], 1u);
  }
  __syncthreads();
  find_leaders(d, pairs);
  __syncthreads();
  for (int p = static_cast<int>(threadIdx.x); p < pairs; p += kAskThreads)
    if (leads_missing(d, p)) atomicAdd(&missing, 1);
  __syncthreads();
  const int by_link = q.base != nullptr ? experts_by_link(missing, a.state->costs) : 0;
  for (int p = static_cast<int>(threadIdx.x); p < pairs; p += kAskThreads) {
    const int id = d.expert[p];
    const std::byte* address = d.address[p];
    if (id >= 0 && address == nullptr && missing_before(d, p) < by_link)
      address = q.base + static_cast<std::size_t>(id) * q.expert_bytes;
    if (address != nullptr) q.table[id] = address;
    q.device_ids[p] = address != nullptr ? id : -1;
    d.processor[p] = address != nullptr ? -1 : id;
    if (d.processor[p] >= 0) atomicAdd(&processor_pairs, 1);
  }
  __syncthreads();
  return {processor_pairs, by_link};
}

__device__ void write_pairs(const Ask& a, const Division& d, int pairs) {
  for (int p = static_cast<int>(threadIdx.x); p < pairs; p += kAskThreads) {
    a.ids[p] = d.processor[p];
    a.weights[p] = a.question.weights[p];
  }
}

// By the threads from `first` on.
__device__ void write_x(const Ask& a, int first) {
  const Rows x = a.question.x;
  const int step = kAskThreads - first;
  const int columns = static_cast<int>(x.cols);
  for (std::int64_t t = 0; t < x.rows; ++t) {
    const float* const from = x.data + t * x.stride;
    float* const to = a.x + t * columns;
#pragma unroll 4
    for (int c = static_cast<int>(threadIdx.x) - first; c < columns; c += step) to[c] = from[c];
  }
}

__device__ Parts write_question(const Ask& a, Division& d, int pairs) {
  if (threadIdx.x == 0) a.words->times = a.state->times;
  Parts parts{};
  if (pairs > kWarp) {
    parts = divide(a, d, pairs);
    if (parts.processor_pairs > 0) {
      write_pairs(a, d, pairs);
      write_x(a, 0);
    }
  } else if (threadIdx.x < kWarp) {
    parts = divide_few(a, pairs);
  } else {
    write_x(a, kWarp);
  }
  __threadfence_system();
  __syncthreads();
  return parts;
}

__device__ unsigned long long nanoseconds() {
  unsigned long long now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}

__global__ void __launch_bounds__(kAskThreads) ask_kernel(const __grid_constant__ Ask a) {
  __shared__ Division division;
  let_later_start();
  wait_for_earlier();
  const int pairs = static_cast<int>(a.question.x.rows) * a.question.top_k;
  const unsigned long long begun = nanoseconds();
  const Parts parts = write_question(a, division, pairs);  // the first thread's count
  if (threadIdx.x != 0) return;
  Mailbox::State& state = *a.state;
  const unsigned long long number = state.number + 1;
  *reinterpret_cast<volatile unsigned long long*>(&a.words->question) =
      number << kPairBits | static_cast<unsigned>(parts.processor_pairs);
  state.number = number;
  state.processor_pairs = static_cast<unsigned>(parts.processor_pairs);
  state.by_link = static_cast<unsigned>(parts.by_link);
  state.asked_ns = nanoseconds();
  if (a.question.begins_step) state.added_ns = begun;
  if (parts.processor_pairs == 0) return;
  state.times.between_ns += begun - state.added_ns;
  state.times.asking_ns += state.asked_ns - begun;
}

__global__ void costs_kernel(Mailbox::State* state, StepCosts costs) {
  state->costs = costs;
}

struct AddAnswer {
  MutableRows out;
  const float* sums;
  Mailbox::Words* words;
  Mailbox::State* state;
  unsigned long long patience_ns;
};

// False if it does not come.
__device__ bool wait_for_answer(const AddAnswer& a) {
  constexpr int kLooksBetweenTimes = 64;  // a look takes the link a microsecond
  volatile Mailbox::State* const state = a.state;
  const unsigned long long number = state->number;
  const auto* const answer = reinterpret_cast<volatile unsigned long long*>(&a.words->answer);
  const unsigned long long start = nanoseconds();
  bool there = *answer >= number;
  while (!there && state->timeout == 0 && nanoseconds() - start < a.patience_ns)
    for (int i = 0; i < kLooksBetweenTimes && !there; ++i) there = *answer >= number;
  if (!there) {
    state->timeout = 1;
    *reinterpret_cast<volatile unsigned long long*>(&a.words->timeout) = number;
  }
  __threadfence_system();
  return there;
}

constexpr int kAddThreads = 256;
constexpr int kAddNumbers = 4;  // of a thread, on their way at once

__device__ void count_times(const AddAnswer& a, unsigned long long own_ns,
                            unsigned long long seen_ns) {
  Mailbox::State& state = *a.state;
  const unsigned long long now = nanoseconds();
  MailboxTimes& times = state.times;
  ++times.questions;
  times.waiting_ns += seen_ns - state.asked_ns;
  times.adding_ns += now - seen_ns;
  if (state.by_link > 0) {
    times.by_link += state.by_link;
    times.link_ns += own_ns - state.asked_ns;
    ++times.link_questions;
  }
  state.added_ns = now;
}

__global__ void __launch_bounds__(kAddThreads)
    add_answer_kernel(const __grid_constant__ AddAnswer a) {
  __shared__ bool there;
  __shared__ unsigned long long seen_ns, own_ns;
  let_later_start();  // with their weights on the way while the processor computes
  // The question was asked before the kernel before this one could begin.
  if (threadIdx.x == 0) {
    there =
        static_cast<volatile Mailbox::State*>(a.state)->processor_pairs > 0 && wait_for_answer(a);
    seen_ns = nanoseconds();
  } else if (threadIdx.x == kWarp) {
    wait_for_earlier();
    own_ns = nanoseconds();
  }
  __syncthreads();
  wait_for_earlier();
  if (!there) return;
  const int columns = static_cast<int>(a.out.cols);
  const float* const from = a.sums + std::int64_t{blockIdx.y} * columns;
  float* const to = a.out.data + std::int64_t{blockIdx.y} * a.out.stride;
  const int first = static_cast<int>(blockIdx.x) * kAddNumbers * kAddThreads + threadIdx.x;
  float sums[kAddNumbers];
#pragma unroll
  for (int i = 0; i < kAddNumbers; ++i)
    if (first + i * kAddThreads < columns) sums[i] = __ldcv(from + first + i * kAddThreads);
#pragma unroll
  for (int i = 0; i < kAddNumbers; ++i)
    if (first + i * kAddThreads < columns) to[first + i * kAddThreads] += sums[i];
  if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) count_times(a, own_ns, seen_ns);
}

std::uint64_t load(std::uint64_t& word) {
  return std::atomic_ref(word).load(std::memory_order_acquire);
}

void store(std::uint64_t& word, std::uint64_t value) {
  std::atomic_ref(word).store(value, std::memory_order_release);
}

}  // namespace

Mailbox::Mailbox(Memory& memory, std::int64_t hidden, std::chrono::milliseconds patience)
    : words_(sizeof(Words)),
      x_(static_cast<std::size_t>(kMailboxTokens * hidden) * sizeof(float)),
      ids_(kMailboxPairs * sizeof(std::int32_t)),
      weights_(kMailboxPairs * sizeof(float)),
      sums_(x_.bytes()),
      state_(memory.allocate(sizeof(State))),
      patience_(patience) {}

void Mailbox::ask(const ExpertQuestion& question, const Launch& launch) {
  const std::int64_t pairs = question.x.rows * question.top_k;
  const std::size_t bytes =
      static_cast<std::size_t>(question.x.rows * question.x.cols) * sizeof(float);
  if (question.x.rows > kMailboxTokens || pairs > kMailboxPairs || bytes > x_.bytes()) {
    throw Error(ErrorCode::Internal,
                "mailbox: a question of " + std::to_string(question.x.rows) + " tokens, " +
                    std::to_string(pairs) + " pairs and " + std::to_string(bytes) +
                    " bytes, there is room for " + std::to_string(kMailboxTokens) + ", " +
                    std::to_string(kMailboxPairs) + " and " + std::to_string(x_.bytes()));
  }
  const Ask ask{.question = question,
                .words = words_.as<Words>(),
                .state = state_.as<State>(),
                .x = x_.as<float>(),
                .ids = ids_.as<int>(),
                .weights = weights_.as<float>()};
  start_early(ask_kernel, {.blocks = dim3(1), .threads = dim3(kAskThreads)}, launch, ask);
}

void Mailbox::add_answer(MutableRows out, const Launch& launch) {
  const AddAnswer add{.out = out,
                      .sums = sums_.as<float>(),
                      .words = words_.as<Words>(),
                      .state = state_.as<State>(),
                      .patience_ns = static_cast<unsigned long long>(patience_.count())};
  constexpr std::int64_t kColumns = kAddNumbers * kAddThreads;
  const dim3 blocks(static_cast<unsigned>((out.cols + kColumns - 1) / kColumns),
                    static_cast<unsigned>(out.rows));
  start_early(add_answer_kernel, {.blocks = blocks, .threads = dim3(kAddThreads)}, launch, add);
}

bool Mailbox::next_question(const Stream& stream) {
  using Clock = std::chrono::steady_clock;
  constexpr int kPausesBetweenLooks = 256;  // at the clock
  constexpr auto kQuiet = std::chrono::milliseconds(20);
  const std::uint64_t number = ++last_;
  const auto asked = [&] { return load(words().question) >> kPairBits >= number; };
  auto look = Clock::time_point::max();
  while (!asked()) {
    for (int i = 0; i < kPausesBetweenLooks && !asked(); ++i) __builtin_ia32_pause();
    const auto now = Clock::now();
    if (look == Clock::time_point::max()) look = now + kQuiet;
    if (now < look) continue;
    look = now + kQuiet;
    const cudaError_t state = cudaStreamQuery(stream.get());
    if (state == cudaErrorNotReady) {
      static_cast<void>(cudaGetLastError());
      continue;
    }
    check(state, "waiting for a step to ask for experts");
    if (!asked()) {
      throw Error(ErrorCode::Internal, "mailbox: a step ended without question " +
                                           std::to_string(number) + ", the last one was " +
                                           std::to_string(load(words().question) >> kPairBits));
    }
  }
  // A later number: the device did not wait for this one's answer.
  const std::uint64_t question = load(words().question);
  return question >> kPairBits == number && (question & ((1U << kPairBits) - 1)) > 0;
}

void Mailbox::answer() {
  store(words().answer, last_);
}

void Mailbox::set_costs(const StepCosts& costs, const Stream& stream) {
  costs_kernel<<<1, 1, 0, stream.get()>>>(state_.as<State>(), costs);
  check_launch("costs of experts");
}

MailboxTimes Mailbox::times() const {
  return words().times;
}

void Mailbox::abandon(const Stream& stream) noexcept {
  store(words().answer, kAnyAnswer);
  static_cast<void>(cudaStreamSynchronize(stream.get()));
  static_cast<void>(
      cudaMemsetAsync(&state_.as<State>()->timeout, 0, sizeof(State::timeout), stream.get()));
  static_cast<void>(cudaStreamSynchronize(stream.get()));
  static_cast<void>(cudaGetLastError());
  last_ = load(words().question) >> kPairBits;
  store(words().timeout, 0);
  store(words().answer, last_);
}

bool Mailbox::timed_out() const {
  return load(words().timeout) != 0;
}

}  // namespace krasis::cuda
