// The line format of the command `krasis tokenize`, for comparing with other programs.
#pragma once

#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace krasis::text {

// {"text": "..."} becomes {"ids": [...], "decoded": "..."}, without line end: ids without special
// tokens added, `decoded` with special tokens kept. Anything else becomes {"error": "..."}. Members
// beside "text" are ignored. Never throws an Error.
std::string tokenize_line(const Tokenizer& tokenizer, std::string_view line);

}  // namespace krasis::text
