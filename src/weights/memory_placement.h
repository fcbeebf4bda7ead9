// Where the operating system places a large piece of memory.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace krasis {

struct MemoryPlacement {
  int nodes = 1;             // NUMA nodes asked for
  bool interleaved = false;  // pages go to the nodes in turn
  std::string problem;       // why they do not although that was asked for; empty otherwise
};

// Spreads memory that was not touched yet over NUMA nodes, page by page, so that every node's
// channels are read at the same time. `data` is at the start of a page. Never throws for what the
// system refuses.
MemoryPlacement interleave_memory(std::byte* data, std::size_t bytes, std::span<const int> nodes);

// The nodes that the processors this process may use belong to, in order.
std::vector<int> memory_nodes();

// Bytes of the mappings that overlap [data, data + bytes) which are in huge pages now; 0 where the
// system does not say.
std::size_t huge_page_bytes(const std::byte* data, std::size_t bytes);

}  // namespace krasis
