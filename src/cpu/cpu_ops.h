// All operations on the processor this program runs on.
#pragma once

#include <memory>

#include "base/thread_pool.h"
#include "ops/ops.h"

namespace krasis::cpu {

struct VectorKernels;
struct TileKernels;

// Results depend neither on the number of threads nor on what else is in a call. `pool` outlives
// the operations. Memory for intermediate results grows to what the largest call needs.
std::unique_ptr<Ops> make_cpu_ops(ThreadPool& pool);

// With chosen rows of the kernel tables, which the processor must be able to run.
std::unique_ptr<Ops> make_cpu_ops(ThreadPool& pool, const VectorKernels& vectors,
                                  const TileKernels& tiles);

}  // namespace krasis::cpu
