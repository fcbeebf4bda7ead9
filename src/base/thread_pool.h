// A fixed team of threads for data-parallel work. The caller of run() is worker 0; the others wait
// spinning for a short while after each piece of work and then sleep, so that work which follows
// quickly starts within a microsecond and an idle program uses no processor. No call allocates.
//
// One run() at a time: the pool belongs to one thread (the engine's). Work must not throw.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace krasis {

struct ThreadPoolOptions {
  int threads = 0;    // including the caller; 0: one for each physical core this process may use
  bool pin = true;    // worker i stays on one processor; the caller is not pinned
  int spin_us = 200;  // how long an idle worker spins before it sleeps
};

class ThreadPool {
 public:
  explicit ThreadPool(const ThreadPoolOptions& options = {});
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  int size() const;

  // Calls work(worker) once on each worker, 0 <= worker < size(), and returns when all are done.
  template <class Work>
  void run(Work&& work) {
    using Plain = std::remove_reference_t<Work>;
    run_erased([](void* context, int worker) { (*static_cast<Plain*>(context))(worker); },
               const_cast<void*>(static_cast<const void*>(&work)));
  }

  // Inside run(): waits until every worker has come here. All or none must call it.
  void barrier();

  // Calls work(first, last) over [0, count) in pieces of at most `grain`, which workers take as
  // they come free. With one worker or one piece: in the caller, without waking anybody.
  template <class Work>
  void parallel_for(std::int64_t count, std::int64_t grain, Work&& work) {
    if (count <= 0) return;
    if (size() == 1 || count <= grain) {
      work(std::int64_t{0}, count);
      return;
    }
    std::atomic<std::int64_t> next{0};
    run([&](int /*worker*/) {
      for (;;) {
        const std::int64_t first = next.fetch_add(grain, std::memory_order_relaxed);
        if (first >= count) return;
        work(first, first + grain < count ? first + grain : count);
      }
    });
  }

 private:
  using Erased = void (*)(void* context, int worker);
  void run_erased(Erased work, void* context);

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace krasis
