#include "base/parallel.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <sched.h>
#include <thread>
#include <vector>

namespace krasis {

int usable_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) {
    return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  }
  return std::max(1, CPU_COUNT(&set));
}

void for_each_in_parallel(std::int64_t count, int threads,
                          const std::function<void(std::int64_t)>& work) {
  if (count <= 0) return;
  if (threads <= 0) threads = usable_processors();
  std::atomic<std::int64_t> next{0};
  std::atomic<bool> failed{false};
  std::mutex first_error_mutex;
  std::exception_ptr first_error;
  const auto worker = [&] {
    while (!failed.load(std::memory_order_relaxed)) {
      const std::int64_t index = next.fetch_add(1);
      if (index >= count) return;
      try {
        work(index);
      } catch (...) {
        failed = true;
        const std::lock_guard lock(first_error_mutex);
        if (!first_error) first_error = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> others;  // the caller is one of the threads
    const std::int64_t wanted = std::min<std::int64_t>(threads, count);
    for (std::int64_t i = 1; i < wanted; ++i) others.emplace_back(worker);
    worker();
  }
  if (first_error) std::rethrow_exception(first_error);
}

}  // namespace krasis
