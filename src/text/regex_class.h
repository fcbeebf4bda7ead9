// Character classes of Oniguruma written as PCRE2 expressions; see regex_translate.h. For
// regex_translate.cpp only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace krasis::text {

// A set of code points under construction.
struct RegexClass {
  std::string items;                      // what stands between [ and ]
  std::vector<std::string> alternatives;  // expressions of one character each, beside the items

  void add(const RegexClass& other);
  std::string expression(bool negated) const;  // matches exactly one character
};

// The property `name` of \p{name}, without a leading ^.
RegexClass property_class(std::string_view name);

RegexClass word_class();
RegexClass space_class();
RegexClass hex_class();

// The class of a [:name:].
RegexClass bracket_class(std::string_view name);

// One code point as it may stand anywhere in a PCRE2 pattern.
std::string escaped(char32_t code_point);

}  // namespace krasis::text
