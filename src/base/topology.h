// The processors this process may use: physical cores, NUMA nodes, caches, the CPU time limit of
// its control group.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

namespace krasis {

struct Core {
  std::vector<int> processors;  // logical processors of the core, lowest first
  int package = 0;
  int node = 0;  // NUMA
};

struct Topology {
  std::vector<Core> cores;     // physical cores, by their first processor; at least one
  double processor_limit = 0;  // of the control group, in processors; 0: none
  std::size_t l1_bytes = 0;    // data cache of the first core; 0: unknown
  std::size_t l2_bytes = 0;
  std::size_t l3_bytes = 0;

  int nodes() const;         // NUMA nodes that the cores belong to
  int usable_cores() const;  // at least 1, at most the limit rounded up
};

// Numbers in a list such as "0-3,8,10-11". What cannot be read is left out.
std::vector<int> parse_processor_list(std::string_view text);

// Of the machine whose /sys, /proc and control groups lie under `root`, seen by a process that may
// run on `allowed`. Files that are missing leave defaults: each processor its own core, node 0.
Topology read_topology(std::span<const int> allowed, const std::filesystem::path& root = "/");

// Of this process.
Topology read_topology();

}  // namespace krasis
