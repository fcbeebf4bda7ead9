// Remembers from run to run which experts were chosen most often, so that a program that is started
// again begins with those in the device's memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "ops/ops.h"

namespace krasis {

class ExpertMemory {
 public:
  // `ops` has placed experts and outlives this. Gives it what the file holds, if it is of these
  // experts (of each layer); says in one line of the log why not. Before the first step.
  ExpertMemory(Ops& ops, std::filesystem::path file, std::vector<std::int64_t> experts);
  ExpertMemory(const ExpertMemory&) = delete;
  ExpertMemory& operator=(const ExpertMemory&) = delete;
  ~ExpertMemory();  // writes the file

 private:
  Ops& ops_;
  std::filesystem::path file_;
  std::vector<std::int64_t> experts_;
};

}  // namespace krasis
