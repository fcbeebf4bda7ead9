#include "weights/memory_placement.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/topology.h"

namespace krasis {

std::vector<int> memory_nodes() {
  std::vector<int> nodes;
  for (const Core& core : read_topology().cores) nodes.push_back(core.node);
  std::ranges::sort(nodes);
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  return nodes;
}

MemoryPlacement interleave_memory(std::byte* data, std::size_t bytes, std::span<const int> nodes) {
  constexpr std::size_t kMaxNodes = 1024;  // of Linux
  constexpr std::size_t kWordBits = 8 * sizeof(unsigned long);
  MemoryPlacement placement;
  placement.nodes = static_cast<int>(nodes.size());
  if (bytes == 0) return placement;
  std::array<unsigned long, kMaxNodes / kWordBits> mask{};
  for (const int number : nodes) {
    const auto node = static_cast<std::size_t>(number);
    if (node < kMaxNodes) mask[node / kWordBits] |= 1UL << (node % kWordBits);
  }
  // The C library has no function for it; the kernel reads one bit less than it is told.
  const long result =
      ::syscall(SYS_mbind, data, bytes, MPOL_INTERLEAVE, mask.data(), kMaxNodes + 1, 0);
  placement.interleaved = result == 0;
  if (result != 0) placement.problem = std::strerror(errno);
  return placement;
}

std::size_t huge_page_bytes(const std::byte* data, std::size_t bytes) {
  const auto wanted_first = reinterpret_cast<std::uintptr_t>(data);
  const std::uintptr_t wanted_last = wanted_first + bytes;
  std::ifstream maps("/proc/self/smaps");
  std::size_t total = 0;
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t first = 0;
    std::uintptr_t last = 0;
    std::size_t kilobytes = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &first, &last) == 2) {
      inside = first < wanted_last && wanted_first < last;
    } else if (inside && std::sscanf(line.c_str(), "AnonHugePages: %zu kB", &kilobytes) == 1) {
      total += kilobytes * 1024;
    }
  }
  return total;
}

}  // namespace krasis
