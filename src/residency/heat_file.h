// The heat of a model's experts (hot_experts.h) in a file, so that a program that is started again
// begins with what was hot when it ended.
//
// All numbers little-endian: "krasheat", u32 version (1), u32 layers, u32 experts of each layer, a
// F32 an expert, and the u64 XXH3 checksum of all that.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "base/file_system.h"

namespace krasis {

// Replaces the file whole. Throws Error(Io).
void save_heat(FileSystem& files, const std::filesystem::path& path,
               std::span<const std::int64_t> experts, std::span<const float> heat);

// Throws Error(NotFound) if there is no such file, Error(Corrupt) if it is not one that save_heat()
// wrote for a model with these layers of experts.
std::vector<float> load_heat(FileSystem& files, const std::filesystem::path& path,
                             std::span<const std::int64_t> experts);

}  // namespace krasis
