// Small copies from pinned host memory by a kernel. A device has one engine for copies from the
// host, which takes them one after another: a few bytes that the next op needs would wait for all
// of a layer's experts that another stream has under way.
#pragma once

#include <cstddef>
#include <cuda_runtime_api.h>

namespace krasis::cuda {

// Queues the copy of `words` 32-bit words; `from` is pinned (PinnedBuffer) and stays as it is until
// the copy is done.
void copy_from_pinned(void* to, const void* from, std::size_t words, cudaStream_t stream);

}  // namespace krasis::cuda
