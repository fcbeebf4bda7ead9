#include "residency/device_sizes.h"

#include <algorithm>

namespace krasis {

std::size_t scratch_bytes_of(std::size_t memory_bytes) {
  return std::clamp(memory_bytes / 16, std::size_t{64} << 20, std::size_t{4} << 30);
}

std::size_t fixed_device_bytes(std::size_t memory_bytes) {
  return scratch_bytes_of(memory_bytes) + kSideScratchBytes + kMaxTableWords * 4;
}

}  // namespace krasis
