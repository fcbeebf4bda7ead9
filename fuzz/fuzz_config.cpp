// links: weights arch
// Any bytes as a config.json: refused with an Error, or a spec whose experts' sizes can be added
// up.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "arch/architecture.h"
#include "weights/cache_plan.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto config = nlohmann::json::parse(data, data + size, nullptr, false);
  if (config.is_discarded()) return 0;
  try {
    const krasis::ModelSpec spec = krasis::architecture_of(config).parse(config);
    krasis::plan_expert_cache(spec, krasis::expert_tile_type(spec, 4));
  } catch (const krasis::Error& error) {
    if (error.code() == krasis::ErrorCode::Internal) std::abort();
  }
  return 0;
}
