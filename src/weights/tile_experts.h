// Experts as tiles in memory, without a cache file.
#pragma once

#include <memory>

#include "arch/architecture.h"
#include "base/cancel.h"
#include "base/file_system.h"
#include "base/progress.h"
#include "quant/quantize.h"
#include "weights/tensor_source.h"
#include "weights/tile_arena.h"

namespace krasis {

// How tiles are made and read.
struct TileOptions {
  TileType type;
  ScaleSearch search = ScaleSearch::LeastSquareError;
  int threads = 0;  // 0: one for each processor this process may use
  Progress progress;
  const CancelFlag* cancel = nullptr;  // looked at between experts; Error(Cancelled)
  FileSystem* files = &FileSystem::real();
};

// Quantizes (or repacks) the experts of `source`. For comparisons and for models that shall leave
// nothing on the disk; otherwise weights/expert_cache.h is faster from the second start on. Throws
// as weights/expert_tensors.h does.
std::unique_ptr<TileArena> make_tile_experts(const ModelDescription& model, TensorSource& source,
                                             const TileOptions& options);

// Made-up experts of the right shapes, at the speed of memory: q uniform, scales so that weights
// have the deviation of make_dummy_source(), padding zero. The same bytes in every run.
std::unique_ptr<TileArena> make_dummy_tile_experts(const ModelSpec& spec,
                                                   const TileOptions& options);

}  // namespace krasis
