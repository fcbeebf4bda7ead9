// Which of the chosen experts a device has at hand, told by a table of their addresses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "cuda/launch.h"

namespace krasis::cuda {

// kept[p] = ids[p] if table[ids[p]] is an address, else -1. ids: [pairs], in [-1, experts); table
// [experts], ids and kept in device memory.
void keep_experts_at(const std::byte* const* table, std::span<const std::int32_t> ids,
                     std::int32_t* kept, const Launch& launch);

// Copies `count` addresses from pinned memory of the program to `table` in device memory: a kernel,
// which does not queue up behind experts that are being copied.
void load_addresses(const std::byte* const* pinned, std::int64_t count, const std::byte** table,
                    const Launch& launch);

}  // namespace krasis::cuda
