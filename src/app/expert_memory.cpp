#include "app/expert_memory.h"

#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "cuda/devices.h"
#include "residency/heat_file.h"

namespace krasis {

ExpertMemory::ExpertMemory(Ops& ops, std::filesystem::path file, std::vector<std::int64_t> experts)
    : ops_(ops), file_(std::move(file)), experts_(std::move(experts)) {
  try {
    cuda::set_expert_heat(ops_, load_heat(FileSystem::real(), file_, experts_));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::NotFound && error.code() != ErrorCode::Corrupt &&
        error.code() != ErrorCode::Io) {
      throw;
    }
    if (error.code() != ErrorCode::NotFound)
      log::info(std::string("experts: none are remembered: ") + error.what());
  }
}

ExpertMemory::~ExpertMemory() {
  try {
    save_heat(FileSystem::real(), file_, experts_, cuda::expert_heat(ops_));
  } catch (const std::exception& error) {
    log::info(std::string("experts: not remembered: ") + error.what());
  }
}

}  // namespace krasis
