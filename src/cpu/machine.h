// What the operations of this folder run on, and how they divide work.
//
// No division changes a result (vector_kernels.h), so tasks are cut by cost alone.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "base/thread_pool.h"
#include "cpu/vector_kernels.h"

namespace krasis::cpu {

struct Machine {
  ThreadPool& pool;
  const VectorKernels& kernels;
};

// Calls work(worker, task) for every task in [0, count), each about task_ns long. Waking the
// workers costs about a microsecond, so little work stays with the caller, as worker 0.
template <class Work>
void for_tasks(ThreadPool& pool, std::int64_t count, double task_ns, Work&& work) {
  constexpr double kWorthSharingNs = 4000;
  constexpr double kGrainNs = 1000;  // between two looks at the shared counter
  const auto workers = static_cast<std::int64_t>(pool.size());
  if (workers == 1 || count <= 1 || static_cast<double>(count) * task_ns < kWorthSharingNs) {
    for (std::int64_t task = 0; task < count; ++task) work(0, task);
    return;
  }
  const double wanted = std::min(kGrainNs / std::max(task_ns, 0.1), 1e9);
  const std::int64_t grain = std::clamp<std::int64_t>(static_cast<std::int64_t>(wanted), 1,
                                                      (count + workers - 1) / workers);
  std::atomic<std::int64_t> next{0};
  pool.run([&](int worker) {
    for (;;) {
      const std::int64_t first = next.fetch_add(grain, std::memory_order_relaxed);
      if (first >= count) return;
      const std::int64_t last = std::min(first + grain, count);
      for (std::int64_t task = first; task < last; ++task) work(worker, task);
    }
  });
}

}  // namespace krasis::cpu
