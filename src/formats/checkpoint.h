// A model's safetensors files as one set of named tensors: DIR/model.safetensors, or the shards
// that DIR/model.safetensors.index.json lists. Mapped, nothing is read ahead. Thread-safe.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "tensor/host_buffer.h"

namespace krasis {

class Checkpoint {
 public:
  // Throws Error(NotFound) naming the folder or the missing shard, Error(Corrupt) naming the file
  // if the index or a shard is malformed or lacks a tensor that the index promises.
  explicit Checkpoint(std::filesystem::path dir);

  // Aligned for its type: a tensor that lies askew in its file is copied once.
  std::optional<TensorView> find(const std::string& name) const;

  // False for tensors that were copied because they lay askew.
  bool is_mapped(const TensorView& view) const;

  const std::filesystem::path& dir() const { return dir_; }
  std::size_t tensors() const { return entries_.size(); }

  // Names, types, shapes, places and files of all tensors, the files' sizes and modification
  // times, and the bytes of config.json.
  std::string fingerprint() const;

 private:
  struct Place {
    const SafetensorsFile* file;
    const SafetensorsEntry* entry;
  };
  void add_single(const std::filesystem::path& path);
  void add_sharded(const std::filesystem::path& index_path);

  std::filesystem::path dir_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;  // their entries are pointed to
  std::map<std::string, Place, std::less<>> entries_;
  mutable std::mutex copies_mutex_;
  mutable std::map<std::string, HostBuffer> copies_;  // guarded by copies_mutex_
};

}  // namespace krasis
