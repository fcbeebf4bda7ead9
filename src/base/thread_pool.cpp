#include "base/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <pthread.h>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/topology.h"

namespace krasis {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMaxThreads = 1024;
constexpr int kPausesBetweenLooks = 64;  // reading the clock costs as much as several pauses
constexpr std::size_t kCacheLine = 64;   // counters that are written by many lie apart

// Waits until `value` is not `old`: spinning first, then asleep in the kernel.
void wait_for_change(const std::atomic<std::uint32_t>& value, std::uint32_t old,
                     std::chrono::microseconds spin) {
  for (int i = 0; i < kPausesBetweenLooks; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    __builtin_ia32_pause();
  }
  const auto until = Clock::now() + spin;
  while (Clock::now() < until) {
    for (int i = 0; i < kPausesBetweenLooks; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      __builtin_ia32_pause();
    }
  }
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

void pin(std::thread& thread, int processor) {
  const auto count = static_cast<std::size_t>(processor) + 1;
  const std::size_t bytes = CPU_ALLOC_SIZE(count);
  std::vector<cpu_set_t> mask((bytes + sizeof(cpu_set_t) - 1) / sizeof(cpu_set_t));
  CPU_SET_S(static_cast<std::size_t>(processor), bytes, mask.data());
  // A processor that went away meanwhile: the thread then runs where the system puts it.
  pthread_setaffinity_np(thread.native_handle(), bytes, mask.data());
}

}  // namespace

struct ThreadPool::State {
  int size = 1;
  std::chrono::microseconds spin{0};
  std::vector<std::thread> threads;

  // Written by run_erased() before `piece` grows, read by workers after they saw it grow.
  Erased work = nullptr;
  void* context = nullptr;
  bool stop = false;

  alignas(kCacheLine) std::atomic<std::uint32_t> piece{0};  // grows with each piece of work
  alignas(kCacheLine) std::atomic<std::uint32_t> ended{0};  // workers that ended, over all pieces
  alignas(kCacheLine) std::atomic<std::uint32_t> arrived{0};
  alignas(kCacheLine) std::atomic<std::uint32_t> passed{0};  // barriers that all workers reached

  void serve(int worker) {
    std::uint32_t seen = 0;
    for (;;) {
      wait_for_change(piece, seen, spin);
      ++seen;
      if (stop) return;
      work(context, worker);
      ended.fetch_add(1, std::memory_order_acq_rel);
      ended.notify_one();
    }
  }

  void start_piece() {
    piece.fetch_add(1, std::memory_order_acq_rel);
    piece.notify_all();
  }

  ~State() {
    stop = true;
    start_piece();
    for (std::thread& thread : threads) thread.join();
  }
};

ThreadPool::ThreadPool(const ThreadPoolOptions& options) : state_(std::make_unique<State>()) {
  if (options.threads < 0 || options.threads > kMaxThreads) {
    throw Error(ErrorCode::InvalidArgument, "thread pool: " + std::to_string(options.threads) +
                                                " threads: use 0 to " +
                                                std::to_string(kMaxThreads));
  }
  const Topology topology = read_topology();
  state_->size =
      options.threads != 0 ? options.threads : std::min(topology.usable_cores(), kMaxThreads);
  // More threads than cores share them: who spins keeps from work whom he waits for, and two that
  // are pinned could be stuck on one core beside an idle one.
  const bool crowded = state_->size > topology.usable_cores();
  state_->spin = std::chrono::microseconds(crowded ? 0 : std::max(options.spin_us, 0));
  const bool pinned = options.pin && !crowded;
  for (int worker = 1; worker < state_->size; ++worker) {
    try {
      state_->threads.emplace_back([state = state_.get(), worker] { state->serve(worker); });
    } catch (const std::system_error& error) {
      throw Error(ErrorCode::OutOfMemory, "thread pool: thread " + std::to_string(worker + 1) +
                                              " of " + std::to_string(state_->size) +
                                              " does not start: " + error.what());
    }
    std::thread& thread = state_->threads.back();
    pthread_setname_np(thread.native_handle(), ("krasis-" + std::to_string(worker)).c_str());
    if (pinned) pin(thread, topology.cores[static_cast<std::size_t>(worker)].processors.front());
  }
}

ThreadPool::~ThreadPool() = default;

int ThreadPool::size() const {
  return state_->size;
}

void ThreadPool::run_erased(Erased work, void* context) {
  State& state = *state_;
  if (state.size == 1) {
    work(context, 0);
    return;
  }
  const std::uint32_t before = state.ended.load(std::memory_order_relaxed);
  const std::uint32_t after = before + static_cast<std::uint32_t>(state.size - 1);
  state.work = work;
  state.context = context;
  state.start_piece();
  work(context, 0);
  for (std::uint32_t now = state.ended.load(std::memory_order_acquire); now != after;
       now = state.ended.load(std::memory_order_acquire)) {
    wait_for_change(state.ended, now, state.spin);
  }
}

void ThreadPool::barrier() {
  State& state = *state_;
  if (state.size == 1) return;
  const std::uint32_t turn = state.passed.load(std::memory_order_acquire);
  const auto all = static_cast<std::uint32_t>(state.size);
  if (state.arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == all) {
    state.arrived.store(0, std::memory_order_relaxed);
    state.passed.store(turn + 1, std::memory_order_release);
    state.passed.notify_all();
    return;
  }
  wait_for_change(state.passed, turn, state.spin);
}

}  // namespace krasis
