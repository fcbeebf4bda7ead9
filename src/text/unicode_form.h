// The four Unicode normalization forms, as the reference tokenizers compute them (Unicode 9.0, see
// unicode::not_normalized).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tokenizer_json.h"

namespace krasis::text {

// Writes the form of `text` (valid UTF-8) to `out` and returns true, or returns false, `out`
// untouched, where `text` is in that form already.
bool to_unicode_form(UnicodeForm form, std::string_view text, std::string& out,
                     std::vector<std::int32_t>& code_points);

}  // namespace krasis::text
