// Reads an expert cache file into an arena.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "weights/cache_format.h"
#include "weights/tile_experts.h"

namespace krasis {

// The header of the file at `path`, or what is wrong with it; a file that is shorter than its
// header says is Damaged. Throws Error(NotFound | Io) if it cannot be read at all.
ParsedCacheHeader read_cache_header(FileSystem& files, const std::filesystem::path& path);

// Reads all layers: several threads, past the page cache where the file system allows it, each
// expert's bytes checked as they come. `wanted`: cache_header_of(plan, ...). Throws Error(Corrupt)
// naming the file and what is wrong with it: foreign, damaged, not the one wanted, or the layer
// whose checksum does not fit; Error(Io) for what the system refuses.
std::unique_ptr<TileArena> read_expert_cache(const std::filesystem::path& path,
                                             const ExpertCachePlan& plan, const CacheHeader& wanted,
                                             const TileOptions& options);

}  // namespace krasis
