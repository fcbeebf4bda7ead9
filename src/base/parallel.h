// Threads for work that is long, may fail and is done once: loading and building. What runs for
// each token uses base/thread_pool.h instead.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

namespace krasis {

// Calls work(index) for each 0 <= index < count, in order of their start, on `threads` threads
// (0: one for each processor this process may use). If one throws, no further index is started
// and the first exception is thrown again here, after all threads have ended.
void for_each_in_parallel(std::int64_t count, int threads,
                          const std::function<void(std::int64_t index)>& work);

int usable_processors();  // at least 1

}  // namespace krasis
