// What a backend takes of a device's memory for itself, whatever the model: figures that both the
// plan and the backend use.
#pragma once

#include <cstddef>

namespace krasis {

// Room for one op's intermediate results on a device with `memory_bytes` (of the device or of the
// limit, the smaller one).
std::size_t scratch_bytes_of(std::size_t memory_bytes);

// For ops of few tokens that run beside others, and for a step's segments and page tables.
constexpr std::size_t kSideScratchBytes = std::size_t{64} << 20;
// int32 of the largest step's tables: 256 sequences of a million tokens in pages of 64.
constexpr std::size_t kMaxTableWords = std::size_t{1} << 22;

// The sum of these.
std::size_t fixed_device_bytes(std::size_t memory_bytes);

}  // namespace krasis
