// What this machine's memory gives.
#pragma once

#include <cstddef>

#include "base/thread_pool.h"

namespace krasis {

// Bytes a second that the pool's threads together read from memory: the best of `passes` plain sums
// over a buffer of `bytes`, which must be several times what the caches hold to mean anything.
double measure_read_rate(ThreadPool& pool, std::size_t bytes = std::size_t{1} << 30,
                         int passes = 5);

}  // namespace krasis
