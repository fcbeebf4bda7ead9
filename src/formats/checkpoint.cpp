#include "formats/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/hash.h"
#include "formats/json_problem.h"

namespace krasis {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxIndexBytes = std::size_t{256} << 20;  // a million tensors have 100 MB

[[noreturn]] void fail(ErrorCode code, const std::filesystem::path& dir, const std::string& text) {
  throw Error(code, "checkpoint: " + dir.string() + ": " + text);
}

std::map<std::string, std::string> weight_map_of(const std::filesystem::path& index_path) {
  const std::filesystem::path dir = index_path.parent_path();
  const std::string name = index_path.filename().string();
  const std::string text = read_file(index_path, kMaxIndexBytes);
  json index;
  try {
    index = json::parse(text);
  } catch (const json::exception& error) {
    fail(ErrorCode::Corrupt, dir, name + ": " + json_problem(text, error) + "; download it again");
  }
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object())
    fail(ErrorCode::Corrupt, dir, name + ": has no weight_map");
  std::map<std::string, std::string> result;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string()) {
      fail(ErrorCode::Corrupt, dir,
           fmt::format("{}: \"{}\": file name is not a text", name, tensor));
    }
    const std::filesystem::path path = file.get<std::string>();
    if (path.empty() || path != path.filename() || path == "..")
      fail(ErrorCode::Corrupt, dir, name + ": " + file.dump() + " is not a file name");
    result.emplace(tensor, path.string());
  }
  return result;
}

}  // namespace

Checkpoint::Checkpoint(std::filesystem::path dir) : dir_(std::move(dir)) {
  const std::filesystem::path index = dir_ / "model.safetensors.index.json";
  const std::filesystem::path single = dir_ / "model.safetensors";
  if (std::filesystem::exists(index)) {
    add_sharded(index);
  } else if (std::filesystem::exists(single)) {
    add_single(single);
  } else {
    fail(ErrorCode::NotFound, dir_,
         "has neither model.safetensors nor model.safetensors.index.json; is this a model's folder "
         "in the hub's format?");
  }
}

void Checkpoint::add_single(const std::filesystem::path& path) {
  files_.push_back(std::make_unique<SafetensorsFile>(path));
  for (const SafetensorsEntry& entry : files_.back()->header().entries)
    entries_.emplace(entry.name, Place{files_.back().get(), &entry});
}

void Checkpoint::add_sharded(const std::filesystem::path& index_path) {
  std::map<std::string, const SafetensorsFile*> shards;
  for (const auto& [tensor, file] : weight_map_of(index_path)) {
    const SafetensorsFile*& shard = shards[file];
    if (shard == nullptr) {
      if (!std::filesystem::exists(dir_ / file)) {
        fail(ErrorCode::NotFound, dir_,
             fmt::format("shard {} is missing (it holds \"{}\"); finish the download", file,
                         tensor));
      }
      files_.push_back(std::make_unique<SafetensorsFile>(dir_ / file));
      shard = files_.back().get();
    }
    const SafetensorsEntry* entry = shard->find(tensor);
    if (entry == nullptr) {
      fail(ErrorCode::Corrupt, dir_,
           fmt::format("{} has no tensor \"{}\", which the index places there", file, tensor));
    }
    entries_.emplace(tensor, Place{shard, entry});
  }
}

std::optional<TensorView> Checkpoint::find(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return std::nullopt;
  const TensorView view = found->second.file->view(*found->second.entry);
  if (reinterpret_cast<std::uintptr_t>(view.data()) % size_of(view.dtype()) == 0) return view;
  const std::lock_guard lock(copies_mutex_);
  auto copy = copies_.find(name);
  if (copy == copies_.end()) {
    HostBuffer buffer(view.bytes());
    std::memcpy(buffer.data(), view.data(), view.bytes());
    copy = copies_.emplace(name, std::move(buffer)).first;
  }
  return TensorView(copy->second.data(), view.dtype(), view.shape());
}

bool Checkpoint::is_mapped(const TensorView& view) const {
  return std::ranges::any_of(files_, [&](const auto& file) { return file->contains(view.data()); });
}

std::string Checkpoint::fingerprint() const {
  Fingerprint print;
  print.add(files_.size());
  for (const auto& file : files_) {
    print.add(file->path().filename().string());
    print.add(file->bytes());
    print.add(static_cast<std::uint64_t>(file->modified_ns()));
  }
  print.add(entries_.size());
  for (const auto& [name, place] : entries_) {
    print.add(name);
    print.add(place.file->path().filename().string());
    print.add(place.entry->dtype_name);
    print.add(place.entry->shape.to_string());
    print.add(place.entry->begin);
    print.add(place.entry->end);
  }
  const std::filesystem::path config = dir_ / "config.json";
  print.add(std::filesystem::exists(config) ? read_file(config) : std::string());
  return print.text();
}

}  // namespace krasis
