// Which pieces of the program's memory are pinned at a time.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace krasis::cuda {

// Whole pages that hold `ranges`, none twice: a range lies in one slice, and ranges that follow
// each other, as an arena aligns them, share one of up to about `most_bytes`. In order of
// addresses.
std::vector<std::span<const std::byte>> pin_slices(
    std::span<const std::span<const std::byte>> ranges, std::size_t most_bytes);

}  // namespace krasis::cuda
