// What Unicode says of a code point, as of version 16.0, the version of the regular expression
// library of the reference tokenizers (Oniguruma 6.9.10): utf8proc's categories, and PCRE2's, are
// older, so the code points added since are kept here in a small table.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace krasis::unicode {

// General categories, numbered as utf8proc numbers them.
enum class Category : std::uint8_t {
  // clang-format off
  Cn, Lu, Ll, Lt, Lm, Lo, Mn, Mc, Me, Nd, Nl, No, Pc, Pd, Ps, Pe, Pi, Pf, Po, Sm, Sc, Sk, So,
  Zs, Zl, Zp, Cc, Cf, Cs, Co,
  // clang-format on
};

struct CategoryRange {
  char32_t first;
  char32_t last;
  Category category;
};

struct Range {
  char32_t first;
  char32_t last;
};

// Code points assigned after Unicode 14.0 (PCRE2 10.42) up to 16.0, in ascending order.
std::span<const CategoryRange> additions_since_14();

// Code points that Unicode normalization leaves untouched in the reference tokenizers, whose tables
// are those of Unicode 9.0, though newer tables give them a combining class, a decomposition or a
// composition.
std::span<const Range> not_normalized();

// Two letters, e.g. "Lu".
std::string_view category_name(Category category);

Category category_of(char32_t code_point);

// Classes as bits.
inline constexpr std::uint8_t kLetter = 1;
inline constexpr std::uint8_t kNumber = 2;
inline constexpr std::uint8_t kSpace = 4;  // property White_Space
inline constexpr std::uint8_t kPunctuation = 8;
inline constexpr std::uint8_t kSymbol = 16;
inline constexpr std::uint8_t kMark = 32;
inline constexpr std::uint8_t kLineEnd = 64;  // U+000A and U+000D

inline constexpr char32_t kCodePoints = 0x110000;

// One byte of class bits for each of the kCodePoints code points; built on the first call.
const std::uint8_t* class_table();

bool is_white_space(char32_t code_point);

}  // namespace krasis::unicode
