// Properties and case mappings of characters as Python's str methods see them.
#pragma once

#include <string>
#include <string_view>

namespace krasis::jinja {

bool is_alpha(char32_t c);
bool is_decimal(char32_t c);
bool is_digit(char32_t c);    // decimals, superscripts, circled digits
bool is_numeric(char32_t c);  // any number character; ideographs do not count here
bool is_alnum(char32_t c);
bool is_lower(char32_t c);
bool is_upper(char32_t c);
bool is_title(char32_t c);
bool is_printable(char32_t c);
bool is_word(char32_t c);              // \w: alphanumeric or an underscore
bool is_identifier_start(char32_t c);  // XID_Start or an underscore, by category
bool is_identifier_part(char32_t c);

// Full mappings: one character may become several (ß becomes SS), a final sigma has its own form.
std::string to_upper(std::string_view bytes);
std::string to_lower(std::string_view bytes);
std::string capitalize(std::string_view bytes);  // the first character in title case, others lower
std::string title_case(std::string_view bytes);  // a letter after a non-letter in title case
std::string swap_case(std::string_view bytes);
std::string case_fold(std::string_view bytes);

}  // namespace krasis::jinja
