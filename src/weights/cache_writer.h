// Builds an expert cache file (docs/cache-format.md).
#pragma once

#include <filesystem>
#include <string>

#include "weights/tile_experts.h"

namespace krasis {

// The name under which the cache `path` is written before it is complete. A file of this name was
// left by a builder that was killed, unless somebody holds the lock of the cache.
std::filesystem::path unfinished_cache(const std::filesystem::path& path);

// Quantizes or repacks the experts of `source` into `path`, expert by expert on several threads:
// memory for one expert a thread. The file appears complete or not at all; whatever fails (no room,
// a write error, a cancellation) ends with an Error and leaves nothing behind. The caller holds the
// lock of the cache.
void write_expert_cache(const ModelDescription& model, TensorSource& source,
                        const std::filesystem::path& path, const TileOptions& options);

}  // namespace krasis
