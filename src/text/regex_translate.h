// Tokenizer files hold regular expressions for Oniguruma (Ruby syntax, UTF-8); krasis runs PCRE2.
// This rewrites a pattern so that PCRE2 10.42 matches the same text:
//   \s \S        Unicode White_Space (PCRE2 would add U+180E)
//   \w \W \b \B  Alphabetic, marks, decimal digits, connector punctuation, and U+00B2 U+00B3 U+00B9
//                U+00BC-U+00BE, which Oniguruma's table for the first 256 code points has
//   \h \H        hexadecimal digits; \v the vertical tab; \uHHHH
//   \p{...}      general categories also by their long names; code points that Unicode added after
//                PCRE2's 14.0 are listed in the class; a script name means the property Script
//   [a&&b] [a[b]] [[:alpha:]]  intersections, nested classes, bracket names
//   (?m)         dot matches line ends (PCRE2's (?s)); (?i) in mid-group reaches across |
//   {,n} {n,m}+  a minimum of 0; + after braces repeats, it does not make them possessive
// Whatever has no exact counterpart here is refused with Error(Unsupported) that quotes it.
#pragma once

#include <string>
#include <string_view>

namespace krasis::text {

// `pattern` is valid UTF-8.
std::string translate_to_pcre2(std::string_view pattern);

// The text that matches `literal` and nothing else.
std::string quote_for_pcre2(std::string_view literal);

}  // namespace krasis::text
