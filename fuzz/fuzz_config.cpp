// links: weights arch tensor base
// Any bytes as a config.json, given to every architecture: refused with an Error, or a spec whose
// tensors all have names and shapes and whose experts' sizes can be added up.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "arch/architecture.h"
#include "arch/tensor_shape.h"
#include "weights/cache_plan.h"

namespace {

using namespace krasis;

void use(const Architecture& architecture, const ModelSpec& spec) {
  ensure(!spec.layers.empty(), "fuzz: a model without layers");
  const auto last = static_cast<std::int64_t>(spec.layers.size()) - 1;
  for (const TensorRule& rule : architecture.tensors) {
    const auto shape = tensor_shape(spec, rule.role, last);
    ensure(!shape || shape->count() > 0, "fuzz: a tensor without elements");
    ensure(!tensor_name(architecture, rule.role, last).empty(), "fuzz: a tensor without a name");
  }
  plan_expert_cache(spec, expert_tile_type(spec, 4));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto config = nlohmann::json::parse(data, data + size, nullptr, false);
  if (config.is_discarded()) return 0;
  const auto attempt = [](const auto& work) {
    try {
      work();
    } catch (const Error& error) {
      if (error.code() == ErrorCode::Internal) std::abort();
    }
  };
  attempt([&] { architecture_of(config); });
  for (const Architecture* architecture : architectures())
    attempt([&] { use(*architecture, architecture->parse(config)); });
  return 0;
}
