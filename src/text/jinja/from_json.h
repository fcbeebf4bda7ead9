// JSON as template values.
#pragma once

#include <nlohmann/json.hpp>

#include "text/jinja/runtime.h"

namespace krasis::jinja {

// Objects keep their order. Fails for integers outside 64 bits, text that is not UTF-8 and nesting
// deeper than kMaxJsonDepth.
Value from_json(Runtime& runtime, const nlohmann::ordered_json& json);

}  // namespace krasis::jinja
