// The cache of a model's experts: found, built where it is missing or outdated, read.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "weights/tile_experts.h"

namespace krasis {

struct CacheFolders {
  std::filesystem::path model;     // its subfolder .krasis_cache is tried first
  std::filesystem::path fallback;  // $KRASIS_HOME/cache: NAME-FINGERPRINT in it where that cannot
                                   // be written; empty: none
};

struct CacheResult {
  std::filesystem::path file;
  bool built = false;  // by this call
  // Worth telling the user, else empty: why the file is not beside the model, why it was built
  // again.
  std::string folder_note;
  std::string rebuild_note;
};

// Makes sure that there is a cache of `source` with options.type. A cache is used only if its
// header names the same tensors, files, config.json, tile type, search, format and quantizer.
// Another process (or thread) that is building the same file is waited for, after a
// progress.message. Outdated and damaged files of ours are replaced, a foreign file of that name is
// refused: Error(Corrupt). Throws Error(Io) naming needed and free bytes if the disk is too small,
// Error(InvalidArgument) for a source without fingerprint, and as write_expert_cache() does.
CacheResult prepare_expert_cache(const ModelDescription& model, TensorSource& source,
                                 const CacheFolders& folders, const TileOptions& options);

struct OpenedExperts {
  std::unique_ptr<TileArena> experts;
  CacheResult cache;
};

// prepare_expert_cache(), then the file in memory. A file whose layers turn out to be damaged is
// built again once, after a progress.message that names it and the layer.
OpenedExperts open_expert_cache(const ModelDescription& model, TensorSource& source,
                                const CacheFolders& folders, const TileOptions& options);

}  // namespace krasis
