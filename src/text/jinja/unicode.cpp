#include "text/jinja/unicode.h"

#include <algorithm>
#include <array>
#include <utf8proc.h>
#include <utility>

#include "text/jinja/special_casing.h"
#include "text/jinja/text.h"

namespace krasis::jinja {
namespace {

struct CodePointRange {
  char32_t first, last;
};

// Numeric_Type=Digit without the decimal digits.
constexpr std::array<CodePointRange, 20> kOtherDigits = {
    {{0xB2, 0xB3},       {0xB9, 0xB9},       {0x1369, 0x1371},   {0x19DA, 0x19DA},
     {0x2070, 0x2070},   {0x2074, 0x2079},   {0x2080, 0x2089},   {0x2460, 0x2468},
     {0x2474, 0x247C},   {0x2488, 0x2490},   {0x24EA, 0x24EA},   {0x24F5, 0x24FD},
     {0x24FF, 0x24FF},   {0x2776, 0x277E},   {0x2780, 0x2788},   {0x278A, 0x2792},
     {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A}, {0x1F100, 0x1F10A}}};
// Other_Lowercase and Other_Uppercase.
constexpr std::array<CodePointRange, 24> kOtherLower = {
    {{0xAA, 0xAA},       {0xBA, 0xBA},       {0x2B0, 0x2B8},     {0x2C0, 0x2C1},
     {0x2E0, 0x2E4},     {0x345, 0x345},     {0x37A, 0x37A},     {0x1D2C, 0x1D6A},
     {0x1D78, 0x1D78},   {0x1D9B, 0x1DBF},   {0x2071, 0x2071},   {0x207F, 0x207F},
     {0x2090, 0x209C},   {0x2170, 0x217F},   {0x24D0, 0x24E9},   {0x2C7C, 0x2C7D},
     {0xA69C, 0xA69D},   {0xA770, 0xA770},   {0xA7F8, 0xA7F9},   {0xAB5C, 0xAB5F},
     {0x10780, 0x10780}, {0x10783, 0x10785}, {0x10787, 0x107B0}, {0x107B2, 0x107BA}}};
constexpr std::array<CodePointRange, 5> kOtherUpper = {{{0x2160, 0x216F},
                                                        {0x24B6, 0x24CF},
                                                        {0x1F130, 0x1F149},
                                                        {0x1F150, 0x1F169},
                                                        {0x1F170, 0x1F189}}};

template <std::size_t N>
bool in_ranges(const std::array<CodePointRange, N>& ranges, char32_t c) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [c](const CodePointRange& r) { return c >= r.first && c <= r.last; });
}

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_mark(utf8proc_category_t c) {
  return c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_MC || c == UTF8PROC_CATEGORY_ME;
}

bool is_cased(char32_t c) {
  return is_lower(c) || is_upper(c) || is_title(c);
}

// Case_Ignorable, by category; the five punctuation marks are those of WordBreak MidLetter.
bool is_case_ignorable(char32_t c) {
  const utf8proc_category_t kind = category(c);
  return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_ME ||
         kind == UTF8PROC_CATEGORY_CF || kind == UTF8PROC_CATEGORY_LM ||
         kind == UTF8PROC_CATEGORY_SK || c == '\'' || c == '.' || c == ':' || c == 0xB7 ||
         c == 0x2018 || c == 0x2019 || c == 0x2027;
}

enum class Case { Lower, Title, Upper };

const SpecialCase* special_case(char32_t c) {
  const auto it = std::lower_bound(
      kSpecialCases.begin(), kSpecialCases.end(), c,
      [](const SpecialCase& row, char32_t value) { return row.character < value; });
  return it != kSpecialCases.end() && it->character == c ? &*it : nullptr;
}

void append_mapped(std::string& out, char32_t c, Case to) {
  if (c < 0x80) {
    const bool letter = to == Case::Lower ? c >= 'A' && c <= 'Z' : c >= 'a' && c <= 'z';
    out += static_cast<char>(letter ? c ^ 0x20U : c);
    return;
  }
  if (const SpecialCase* row = special_case(c)) {
    out += encode(to == Case::Lower ? row->lower : to == Case::Title ? row->title : row->upper);
    return;
  }
  const auto code = static_cast<utf8proc_int32_t>(c);
  append_utf8(out, static_cast<char32_t>(to == Case::Lower   ? utf8proc_tolower(code)
                                         : to == Case::Title ? utf8proc_totitle(code)
                                                             : utf8proc_toupper(code)));
}

// Σ at the end of a word becomes ς: a cased character before it and none after it, looking past
// ignorable ones (Unicode 3.13, Final_Sigma).
bool final_sigma(std::u32string_view text, std::size_t at) {
  std::size_t before = at;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  std::size_t after = at + 1;
  while (after < text.size() && is_case_ignorable(text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}

void append_lower(std::string& out, std::u32string_view text, std::size_t at) {
  if (text[at] == 0x3A3) {
    append_utf8(out, final_sigma(text, at) ? 0x3C2 : 0x3C3);
  } else {
    append_mapped(out, text[at], Case::Lower);
  }
}

}  // namespace

bool is_alpha(char32_t c) {
  const utf8proc_category_t kind = category(c);
  return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}
bool is_decimal(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_ND;
}
bool is_digit(char32_t c) {
  return is_decimal(c) || in_ranges(kOtherDigits, c);
}
bool is_numeric(char32_t c) {
  const utf8proc_category_t kind = category(c);
  return kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL ||
         kind == UTF8PROC_CATEGORY_NO;
}
bool is_alnum(char32_t c) {
  return is_alpha(c) || is_numeric(c);
}
bool is_lower(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LL || in_ranges(kOtherLower, c);
}
bool is_upper(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LU || in_ranges(kOtherUpper, c);
}
bool is_title(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LT;
}
bool is_printable(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_ZS:
      return c == ' ';
    default:
      return true;
  }
}
bool is_word(char32_t c) {
  return c == '_' || is_alnum(c);
}
bool is_identifier_start(char32_t c) {
  return c == '_' || is_alpha(c) || category(c) == UTF8PROC_CATEGORY_NL;
}
bool is_identifier_part(char32_t c) {
  return is_identifier_start(c) || is_decimal(c) || is_mark(category(c)) ||
         category(c) == UTF8PROC_CATEGORY_PC;
}

std::string to_upper(std::string_view bytes) {
  std::string result;
  result.reserve(bytes.size());
  for (std::size_t position = 0; position < bytes.size();)
    append_mapped(result, next_code_point(bytes, position), Case::Upper);
  return result;
}

std::string to_lower(std::string_view bytes) {
  const std::u32string text = decode(bytes);
  std::string result;
  result.reserve(bytes.size());
  for (std::size_t i = 0; i < text.size(); ++i) append_lower(result, text, i);
  return result;
}

std::string capitalize(std::string_view bytes) {
  const std::u32string text = decode(bytes);
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i == 0) {
      append_mapped(result, text[i], Case::Title);
    } else {
      append_lower(result, text, i);
    }
  }
  return result;
}

std::string title_case(std::string_view bytes) {
  const std::u32string text = decode(bytes);
  std::string result;
  bool inside_word = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (inside_word) {
      append_lower(result, text, i);
    } else {
      append_mapped(result, text[i], Case::Title);
    }
    inside_word = is_cased(text[i]);
  }
  return result;
}

std::string swap_case(std::string_view bytes) {
  const std::u32string text = decode(bytes);
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (is_upper(text[i])) {
      append_lower(result, text, i);
    } else if (is_lower(text[i])) {
      append_mapped(result, text[i], Case::Upper);
    } else {
      append_utf8(result, text[i]);
    }
  }
  return result;
}

std::string case_fold(std::string_view bytes) {
  std::string result;
  for (std::size_t position = 0; position < bytes.size();) {
    const char32_t c = next_code_point(bytes, position);
    std::array<utf8proc_int32_t, 8> folded{};
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), folded.data(),
                                               static_cast<utf8proc_ssize_t>(folded.size()),
                                               UTF8PROC_CASEFOLD, nullptr);
    for (utf8proc_ssize_t i = 0; i < count && i < 8; ++i)
      append_utf8(result, static_cast<char32_t>(folded[static_cast<std::size_t>(i)]));
  }
  return result;
}

}  // namespace krasis::jinja
