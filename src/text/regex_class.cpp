#include "text/regex_class.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <utility>

#include "base/error.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace krasis::text {
namespace {

// Long names of general categories, folded (lower case, no separators).
constexpr std::array<std::pair<std::string_view, std::string_view>, 37> kLongNames = {{
    {"other", "C"},
    {"control", "Cc"},
    {"format", "Cf"},
    {"unassigned", "Cn"},
    {"privateuse", "Co"},
    {"surrogate", "Cs"},
    {"letter", "L"},
    {"lowercaseletter", "Ll"},
    {"modifierletter", "Lm"},
    {"otherletter", "Lo"},
    {"titlecaseletter", "Lt"},
    {"uppercaseletter", "Lu"},
    {"mark", "M"},
    {"combiningmark", "M"},
    {"spacingmark", "Mc"},
    {"enclosingmark", "Me"},
    {"nonspacingmark", "Mn"},
    {"number", "N"},
    {"decimalnumber", "Nd"},
    {"letternumber", "Nl"},
    {"othernumber", "No"},
    {"punctuation", "P"},
    {"connectorpunctuation", "Pc"},
    {"dashpunctuation", "Pd"},
    {"closepunctuation", "Pe"},
    {"finalpunctuation", "Pf"},
    {"initialpunctuation", "Pi"},
    {"otherpunctuation", "Po"},
    {"openpunctuation", "Ps"},
    {"symbol", "S"},
    {"currencysymbol", "Sc"},
    {"modifiersymbol", "Sk"},
    {"mathsymbol", "Sm"},
    {"othersymbol", "So"},
    {"separator", "Z"},
    {"spaceseparator", "Zs"},
    {"lineseparator", "Zl"},
}};

// Han ideographs added after Unicode 14.0; all other additions in these blocks are unassigned.
constexpr unicode::Range kNewHan[] = {{0x2B739, 0x2B739}, {0x2EBF0, 0x2EE5D}, {0x31350, 0x323AF}};

std::string folded(std::string_view name) {
  std::string result;
  for (const char c : name) {
    if (c == ' ' || c == '_' || c == '-') continue;
    result.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
  }
  return result;
}

std::string range_text(char32_t first, char32_t last) {
  const auto a = static_cast<std::uint32_t>(first);
  const auto b = static_cast<std::uint32_t>(last);
  return first == last ? fmt::format("\\x{{{:X}}}", a)
                       : fmt::format("\\x{{{:X}}}-\\x{{{:X}}}", a, b);
}

// The code points added since 14.0 whose category starts with `prefix`.
std::string additions(std::string_view prefix) {
  std::string text;
  for (const unicode::CategoryRange& range : unicode::additions_since_14()) {
    if (unicode::category_name(range.category).starts_with(prefix))
      text += range_text(range.first, range.last);
  }
  return text;
}

bool is_category(std::string_view name) {
  constexpr std::string_view kGroups = "CLMNPSZ";
  if (name.size() == 1) return kGroups.find(name[0]) != std::string_view::npos;
  for (int i = 0; i <= static_cast<int>(unicode::Category::Co); ++i) {
    if (unicode::category_name(static_cast<unicode::Category>(i)) == name) return true;
  }
  return false;
}

RegexClass category_class(std::string_view name) {
  if (name == "C" || name == "Cn") {  // the additions are assigned now
    return {.items = "",
            .alternatives = {fmt::format("(?:(?![{}])\\p{{{}}})", additions(""), name)}};
  }
  return {.items = fmt::format("\\p{{{}}}{}", name, additions(name)), .alternatives = {}};
}

// The general category that `name` means, short or long, or nothing.
std::string category_of_name(std::string_view name, const std::string& fold) {
  std::string short_name(name);
  if (!short_name.empty() && short_name[0] >= 'a' && short_name[0] <= 'z')
    short_name[0] = static_cast<char>(short_name[0] - 'a' + 'A');
  if (is_category(short_name)) return short_name;
  const auto* row = std::find_if(kLongNames.begin(), kLongNames.end(),
                                 [&fold](const auto& r) { return r.first == fold; });
  if (row != kLongNames.end()) return std::string(row->second);
  return "";
}

}  // namespace

void RegexClass::add(const RegexClass& other) {
  items += other.items;
  alternatives.insert(alternatives.end(), other.alternatives.begin(), other.alternatives.end());
}

std::string RegexClass::expression(bool negated) const {
  if (alternatives.empty()) return (negated ? "[^" : "[") + items + "]";
  std::string any = items.empty() ? "" : "[" + items + "]";
  for (const std::string& alternative : alternatives) {
    if (!any.empty()) any += '|';
    any += alternative;
  }
  return negated ? "(?:(?!" + any + ")\\p{Any})" : "(?:" + any + ")";
}

RegexClass property_class(std::string_view name) {
  const std::string fold = folded(name);
  if (const std::string category = category_of_name(name, fold); !category.empty())
    return category_class(category);
  if (fold == "any") return {.items = "\\p{Any}", .alternatives = {}};
  if (fold == "space" || fold == "whitespace" || fold == "wspace") return space_class();
  if (fold == "alphabetic" || fold == "alpha")
    return {.items = "\\p{Alphabetic}" + additions("L") + additions("Nl"), .alternatives = {}};
  if (fold == "uppercase" || fold == "upper")
    return {.items = "\\p{Uppercase}" + additions("Lu"), .alternatives = {}};
  if (fold == "lowercase" || fold == "lower")
    return {.items = "\\p{Lowercase}" + additions("Ll"), .alternatives = {}};
  if (fold == "emoji" || fold == "emojipresentation" || fold == "extendedpictographic")
    return {.items = fmt::format("\\p{{{}}}", fold), .alternatives = {}};
  std::string items = fmt::format("\\p{{sc:{}}}", fold);
  if (fold == "han") {
    for (const unicode::Range& range : kNewHan) items += range_text(range.first, range.last);
  }
  return {.items = items, .alternatives = {}};
}

RegexClass word_class() {
  return {.items = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}" +
                   additions("L") + additions("M") + additions("Nd") + additions("Nl"),
          .alternatives = {}};
}

RegexClass space_class() {
  return {.items = "\\p{White_Space}", .alternatives = {}};
}

RegexClass hex_class() {
  return {.items = "0-9A-Fa-f", .alternatives = {}};
}

RegexClass bracket_class(std::string_view name) {
  if (name == "alpha" || name == "upper" || name == "lower" || name == "space")
    return property_class(name);
  if (name == "digit") return category_class("Nd");
  if (name == "xdigit") return hex_class();
  if (name == "word") return word_class();
  if (name == "alnum") {
    RegexClass result = property_class("alpha");
    result.add(category_class("Nd"));
    return result;
  }
  throw Error(ErrorCode::Unsupported,
              fmt::format("regular expression: [:{}:] is not supported", name));
}

std::string escaped(char32_t code_point) {
  const bool plain = code_point >= 0x80 || (code_point >= '0' && code_point <= '9') ||
                     (code_point >= 'A' && code_point <= 'Z') ||
                     (code_point >= 'a' && code_point <= 'z');
  if (!plain) return fmt::format("\\x{{{:X}}}", static_cast<std::uint32_t>(code_point));
  std::string text;
  utf8::append(text, code_point);
  return text;
}

}  // namespace krasis::text
