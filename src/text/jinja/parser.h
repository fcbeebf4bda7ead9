// Source to Tree, variables resolved.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "text/jinja/syntax.h"

namespace krasis::jinja {

// Throws Error(InvalidArgument, "chat template: NAME:LINE: ...").
std::unique_ptr<Tree> parse(std::string_view source, const std::string& name);

}  // namespace krasis::jinja
