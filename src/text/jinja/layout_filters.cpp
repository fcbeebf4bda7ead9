// Filters that lay out lines of text: indent and wordwrap.
#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/unicode.h"

namespace krasis::jinja {
namespace {

std::vector<std::string> lines_of(NativeCall& call, const Value& text) {
  const Value lines = apply_filter(call.runtime(), *find_string_method("splitlines"), text, {});
  std::vector<std::string> result;
  for (const Value& line : lines.items()) result.push_back(line.text().bytes);
  return result;
}

Value indent(NativeCall& call) {
  Runtime& runtime = call.runtime();
  require_defined(runtime, call.self());
  if (!call.self().is_string()) call.fail("needs a string");
  std::string indention;
  if (call.given(0) && call[0].is_string()) {
    indention = call[0].text().bytes;
  } else {
    const auto width = static_cast<std::size_t>(std::max<std::int64_t>(0, call.integer(0, 4)));
    runtime.charge(width);
    indention.assign(width, ' ');
  }
  const bool first = call.flag(1, false);
  const bool blank = call.flag(2, false);
  // The added newline lets a last empty line count as one.
  const Value text = runtime.string(call.self().text().bytes + "\n");
  const std::vector<std::string> lines = lines_of(call, text);
  runtime.charge_repeated(indention.size() + 1, lines.size());
  std::string result;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) result += '\n';
    if (i == 0 ? first : blank || !lines[i].empty()) result += indention;
    result += lines[i];
  }
  return runtime.string(std::move(result), call.self().text().markup);
}

// Splits a line as Python's textwrap does: white space, words, and words at their hyphens.
std::vector<std::u32string> chunks(const std::u32string& line, bool break_on_hyphens) {
  std::vector<std::u32string> result;
  const auto blank = [](char32_t c) { return c == ' ' || (c >= 9 && c <= 13); };
  const auto letter = [](char32_t c) { return is_word(c) && !is_decimal(c) && c != '_'; };
  for (std::size_t at = 0; at < line.size();) {
    std::size_t end = at + 1;
    if (blank(line[at])) {
      while (end < line.size() && blank(line[end])) ++end;
    } else {
      for (; end < line.size() && !blank(line[end]); ++end) {
        // Behind a hyphen that has two letters before it (or letter, hyphen, letter) and a letter
        // after it.
        if (!break_on_hyphens || line[end - 1] != '-' || end < at + 3) continue;
        const bool before = letter(line[end - 2]) && letter(line[end - 3]);
        const bool after = letter(line[end]) && end + 1 < line.size() &&
                           (letter(line[end + 1]) || line[end + 1] == '-');
        if (before && after) break;
      }
    }
    result.push_back(line.substr(at, end - at));
    at = end;
  }
  return result;
}

bool all_blank(const std::u32string& text) {
  return std::all_of(text.begin(), text.end(), is_space);
}

struct WrapOptions {
  std::size_t width;
  bool break_long_words;
  bool break_on_hyphens;
};

// A chunk longer than a line: as much of it as fits (behind a hyphen if there is one) goes into
// the line, the rest stays.
void take_long_chunk(std::vector<std::u32string>& rest, std::u32string& line,
                     const WrapOptions& options) {
  if (!options.break_long_words) {
    if (line.empty()) {
      line += rest.back();
      rest.pop_back();
    }
    return;
  }
  std::u32string& chunk = rest.back();
  std::size_t end = std::max<std::size_t>(1, options.width - line.size());
  if (options.break_on_hyphens && chunk.size() > end) {
    const std::size_t hyphen = chunk.rfind(U'-', end - 1);
    if (hyphen != chunk.npos && hyphen > 0 &&
        std::any_of(chunk.begin(), chunk.begin() + static_cast<std::ptrdiff_t>(hyphen),
                    [](char32_t c) { return c != '-'; }))
      end = hyphen + 1;
  }
  line += chunk.substr(0, end);
  chunk.erase(0, end);
}

std::vector<std::string> wrap(const std::string& text, const WrapOptions& options) {
  std::vector<std::u32string> rest = chunks(decode(text), options.break_on_hyphens);
  std::reverse(rest.begin(), rest.end());
  std::vector<std::string> lines;
  while (!rest.empty()) {
    if (!lines.empty() && all_blank(rest.back())) rest.pop_back();
    std::u32string line;
    std::u32string last;
    while (!rest.empty() && line.size() + rest.back().size() <= options.width) {
      last = rest.back();
      line += last;
      rest.pop_back();
    }
    if (!rest.empty() && rest.back().size() > options.width) {
      const std::size_t before = line.size();
      take_long_chunk(rest, line, options);
      if (line.size() > before) last = line.substr(before);
    }
    if (!line.empty() && all_blank(last)) line.resize(line.size() - last.size());
    if (!line.empty()) lines.push_back(encode(line));
  }
  return lines;
}

Value word_wrap(NativeCall& call) {
  Runtime& runtime = call.runtime();
  require_defined(runtime, call.self());
  if (!call.self().is_string()) call.fail("needs a string");
  const std::int64_t width = call.integer(0, 79);
  if (width <= 0) call.fail("the width has to be positive");
  const WrapOptions options{static_cast<std::size_t>(width), call.flag(1, true),
                            call.flag(3, true)};
  const std::string separator = call.given_and_not_none(2) ? call.text(2).bytes : "\n";
  std::string result;
  bool first = true;
  for (const std::string& line : lines_of(call, call.self())) {
    runtime.charge(line.size() * 8);
    const std::vector<std::string> wrapped = wrap(line, options);
    runtime.charge_repeated(separator.size() + 1, wrapped.size() + 1);
    if (!first) result += separator;
    first = false;
    for (std::size_t i = 0; i < wrapped.size(); ++i) {
      if (i > 0) result += separator;
      result += wrapped[i];
    }
  }
  return runtime.string(std::move(result));
}

// clang-format off
constexpr std::array kLayoutFilters = {
    NativeRow{"indent", indent, "width? first? blank?"},
    NativeRow{"wordwrap", word_wrap, "width? break_long_words? wrapstring? break_on_hyphens?"},
};
// clang-format on

}  // namespace

std::span<const NativeRow> layout_filters() {
  return kLayoutFilters;
}

}  // namespace krasis::jinja
