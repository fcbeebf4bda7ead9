// Where the operating system places a large piece of memory.
#pragma once

#include <cstddef>
#include <string>

namespace krasis {

struct MemoryPlacement {
  int nodes = 1;             // NUMA nodes that this process's processors belong to
  bool interleaved = false;  // pages go to the nodes in turn
  std::string problem;       // why they do not although there are several nodes; empty otherwise
};

// Spreads memory that was not touched yet over the NUMA nodes, page by page, so that every node's
// channels are read at the same time. Nothing on a machine with one node. Never throws for what the
// system refuses.
MemoryPlacement interleave_memory(std::byte* data, std::size_t bytes);

// Bytes of the mappings that overlap [data, data + bytes) which are in huge pages now; 0 where the
// system does not say.
std::size_t huge_page_bytes(const std::byte* data, std::size_t bytes);

}  // namespace krasis
