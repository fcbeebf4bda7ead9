// Numbers and strings as they are written in a template.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace krasis::jinja {

struct Literal {
  std::size_t end = 0;  // behind the number; where it began if there is none
  Value value;          // Missing if it does not fit
};
// 12, 1_000, 0x1f, 0o17, 0b1, 1.5, 2e-3. A number behind a dot has no fraction (x.1.2).
Literal scan_number(std::string_view source, std::size_t at);

// The text that Python's string escapes stand for; nothing, and why, if they are malformed.
std::optional<std::string> unescape(std::string_view source, std::string& what);

}  // namespace krasis::jinja
