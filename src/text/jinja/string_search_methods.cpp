// str methods that look for, count, cut and replace parts, and those that answer questions.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/format.h"
#include "text/jinja/iteration.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/unicode.h"

namespace krasis::jinja {
namespace {

const Text& self_text(const NativeCall& call) {
  return call.self().text();
}

Value piece(NativeCall& call, std::string_view bytes) {
  return call.runtime().string(std::string(bytes), self_text(call).markup);
}

// The part that the arguments start and end choose, as code point positions.
struct Window {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool valid = true;  // false: start lies behind the end, where not even '' is found
};

Window window(const NativeCall& call, std::size_t first_argument) {
  const auto length = static_cast<std::int64_t>(self_text(call).length);
  const auto bound = [&](std::size_t i, std::int64_t otherwise) {
    if (!call.given_and_not_none(i)) return otherwise;
    const std::int64_t given = call.integer(i);
    return given < 0 ? std::max<std::int64_t>(0, given + length) : given;
  };
  const std::int64_t begin = bound(first_argument, 0);
  const std::int64_t end = std::min(bound(first_argument + 1, length), length);
  if (begin > end) return {0, 0, false};
  return {static_cast<std::size_t>(begin), static_cast<std::size_t>(end), true};
}

std::int64_t find_in(const NativeCall& call, bool from_right) {
  const Window part = window(call, 1);
  if (!part.valid) return -1;
  const Text& text = self_text(call);
  const std::string_view haystack = substring(text, part.begin, part.end);
  const std::string_view needle = call.text(0).bytes;
  const std::size_t at = from_right ? haystack.rfind(needle) : haystack.find(needle);
  if (at == haystack.npos) return -1;
  return static_cast<std::int64_t>(part.begin + count_code_points(haystack.substr(0, at)));
}

std::int64_t found_or_fail(NativeCall& call, bool from_right) {
  const std::int64_t at = find_in(call, from_right);
  if (at < 0) call.fail("the part was not found");
  return at;
}

bool affix(NativeCall& call, bool at_start) {
  const Window part = window(call, 1);
  const std::string_view text =
      part.valid ? substring(self_text(call), part.begin, part.end) : std::string_view();
  const auto matches = [&](const Value& value) {
    if (!value.is_string()) {
      require_defined(call.runtime(), value);
      call.fail("needs a string or a tuple of strings");
    }
    if (!part.valid) return false;
    return at_start ? text.starts_with(value.bytes()) : text.ends_with(value.bytes());
  };
  if (!call[0].is(Kind::Tuple)) return matches(call[0]);
  const auto& items = call[0].items();
  return std::any_of(items.begin(), items.end(), matches);
}

Value count(NativeCall& call) {
  const Window part = window(call, 1);
  if (!part.valid) return Value::integer(0);
  const std::string_view text = substring(self_text(call), part.begin, part.end);
  const std::string_view needle = call.text(0).bytes;
  if (needle.empty()) return Value::integer(static_cast<std::int64_t>(part.end - part.begin + 1));
  std::int64_t found = 0;
  for (std::size_t at = 0; (at = text.find(needle, at)) != text.npos; at += needle.size()) ++found;
  return Value::integer(found);
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator,
                                       std::int64_t most) {
  std::vector<std::string_view> parts;
  for (std::size_t at; most != 0 && (at = text.find(separator)) != text.npos; --most) {
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
  }
  parts.push_back(text);
  return parts;
}

std::vector<std::string_view> split_at_from_right(std::string_view text, std::string_view separator,
                                                  std::int64_t most) {
  std::vector<std::string_view> parts;
  for (std::size_t at; most != 0 && (at = text.rfind(separator)) != text.npos; --most) {
    parts.push_back(text.substr(at + separator.size()));
    text = text.substr(0, at);
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::size_t word_end(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    std::size_t next = at;
    if (is_space(next_code_point(text, next))) break;
    at = next;
  }
  return at;
}

std::vector<std::string_view> split_words(std::string_view text, std::int64_t most) {
  std::vector<std::string_view> parts;
  for (text = strip_left(text); !text.empty(); text = strip_left(text)) {
    if (most-- == 0) {
      parts.push_back(text);
      break;
    }
    const std::size_t end = word_end(text);
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return parts;
}

std::vector<std::string_view> split_words_from_right(std::string_view text, std::int64_t most) {
  if (most < 0) return split_words(text, most);
  std::vector<std::string_view> words = split_words(text, -1);
  const auto kept = static_cast<std::size_t>(
      std::min<std::int64_t>(most, static_cast<std::int64_t>(words.size())));
  const std::size_t joined = words.size() - kept;
  if (joined == 0) return words;
  const char* begin = text.data();
  const std::string_view& last = words[joined - 1];
  const std::string_view head(begin, static_cast<std::size_t>(last.data() + last.size() - begin));
  words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(joined));
  words.insert(words.begin(), head);
  return words;
}

Value pieces(NativeCall& call, const std::vector<std::string_view>& parts) {
  std::vector<Value> items;
  call.runtime().step(parts.size());
  items.reserve(parts.size());
  for (const std::string_view part : parts) items.push_back(piece(call, part));
  return call.runtime().list(std::move(items));
}

Value split_any(NativeCall& call, bool from_right) {
  const std::string_view text = self_text(call).bytes;
  const std::int64_t most = call.integer(1, -1);
  call.runtime().charge(text.size());
  if (!call.given_and_not_none(0))
    return pieces(call, from_right ? split_words_from_right(text, most) : split_words(text, most));
  const std::string_view separator = call.text(0).bytes;
  if (separator.empty()) call.fail("the separator is empty");
  return pieces(call, from_right ? split_at_from_right(text, separator, most)
                                 : split_at(text, separator, most));
}

Value splitlines(NativeCall& call) {
  const std::string_view text = self_text(call).bytes;
  const bool keep = call.flag(0, false);
  std::vector<std::string_view> lines;
  std::size_t start = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t here = at;
    const char32_t c = next_code_point(text, at);
    if (!is_line_break(c)) continue;
    if (c == '\r' && at < text.size() && text[at] == '\n') ++at;
    lines.push_back(text.substr(start, (keep ? at : here) - start));
    start = at;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return pieces(call, lines);
}

Value partition_any(NativeCall& call, bool from_right) {
  const std::string_view text = self_text(call).bytes;
  const std::string_view separator = call.text(0).bytes;
  if (separator.empty()) call.fail("the separator is empty");
  const std::size_t at = from_right ? text.rfind(separator) : text.find(separator);
  if (at == text.npos) {
    const Value whole = piece(call, text);
    const Value empty = piece(call, "");
    return from_right ? call.runtime().tuple({empty, empty, whole})
                      : call.runtime().tuple({whole, empty, empty});
  }
  return call.runtime().tuple({piece(call, text.substr(0, at)), piece(call, separator),
                               piece(call, text.substr(at + separator.size()))});
}

// '' is found before every character and at the end.
std::string replace_empty(const Text& text, const std::string& part, std::int64_t most) {
  std::string result;
  for (std::size_t at = 0; at <= text.bytes.size();) {
    if (most-- != 0) result += part;
    if (at == text.bytes.size()) break;
    const std::size_t start = at;
    next_code_point(text.bytes, at);
    result.append(text.bytes, start, at - start);
    if (most == 0) return result.append(text.bytes, at);
  }
  return result;
}

Value replace(NativeCall& call) {
  const Text& text = self_text(call);
  const std::string_view old_part = call.text(0).bytes;
  const Text& given = call.text(1);
  const std::string part = text.markup && !given.markup ? escape_html(given.bytes) : given.bytes;
  const std::int64_t most = call.integer(2, -1);
  if (old_part.empty()) {
    call.runtime().charge_repeated(part.size() + 1, text.length + 1);
    return call.runtime().string(most == 0 ? text.bytes : replace_empty(text, part, most),
                                 text.markup);
  }
  std::string result;
  std::string_view rest = text.bytes;
  std::int64_t left = most;
  for (std::size_t at; left != 0 && (at = rest.find(old_part)) != rest.npos; --left) {
    call.runtime().charge(at + part.size());
    result.append(rest.substr(0, at)).append(part);
    rest.remove_prefix(at + old_part.size());
  }
  return call.runtime().string(result.append(rest), text.markup);
}

Value join_method(NativeCall& call) {
  Runtime& runtime = call.runtime();
  const Text& separator = self_text(call);
  std::string result;
  bool first = true;
  for (const Value& item : collect(runtime, call[0])) {
    if (!item.is_string()) {
      require_defined(runtime, item);
      call.fail(std::string("can only join strings, got a value of type ") + type_name(item));
    }
    runtime.charge(item.bytes().size() + separator.bytes.size());
    if (!first) result += separator.bytes;
    first = false;
    result +=
        separator.markup && !item.text().markup ? escape_html(item.bytes()) : item.text().bytes;
  }
  return runtime.string(std::move(result), separator.markup);
}

template <bool (*Property)(char32_t)>
Value all_are(NativeCall& call) {
  const std::u32string text = decode(self_text(call).bytes);
  return Value::boolean(!text.empty() && std::all_of(text.begin(), text.end(), Property));
}

Value is_ascii(NativeCall& call) {
  return Value::boolean(self_text(call).ascii());
}

Value is_printable_text(NativeCall& call) {
  const std::u32string text = decode(self_text(call).bytes);
  return Value::boolean(std::all_of(text.begin(), text.end(), is_printable));
}

Value is_identifier(NativeCall& call) {
  const std::u32string text = decode(self_text(call).bytes);
  return Value::boolean(!text.empty() && is_identifier_start(text[0]) &&
                        std::all_of(text.begin(), text.end(), is_identifier_part));
}

template <bool (*Wanted)(char32_t), bool (*Refused)(char32_t)>
Value has_case(NativeCall& call) {
  const std::u32string text = decode(self_text(call).bytes);
  return Value::boolean(
      std::any_of(text.begin(), text.end(), Wanted) &&
      std::none_of(text.begin(), text.end(), [](char32_t c) { return Refused(c) || is_title(c); }));
}

Value is_title_case(NativeCall& call) {
  bool cased = false;
  bool inside_word = false;
  for (const char32_t c : decode(self_text(call).bytes)) {
    const bool upper = is_upper(c) || is_title(c);
    const bool lower = is_lower(c);
    if ((upper && inside_word) || (lower && !inside_word)) return Value::boolean(false);
    cased = cased || upper || lower;
    inside_word = upper || lower;
  }
  return Value::boolean(cased);
}

// clang-format off
constexpr std::array kSearchMethods = {
    NativeRow{"find", [](NativeCall& c) { return Value::integer(find_in(c, false)); }, "/ sub start? end?"},
    NativeRow{"rfind", [](NativeCall& c) { return Value::integer(find_in(c, true)); }, "/ sub start? end?"},
    NativeRow{"index", [](NativeCall& c) { return Value::integer(found_or_fail(c, false)); }, "/ sub start? end?"},
    NativeRow{"rindex", [](NativeCall& c) { return Value::integer(found_or_fail(c, true)); }, "/ sub start? end?"},
    NativeRow{"startswith", [](NativeCall& c) { return Value::boolean(affix(c, true)); }, "/ prefix start? end?"},
    NativeRow{"endswith", [](NativeCall& c) { return Value::boolean(affix(c, false)); }, "/ suffix start? end?"},
    NativeRow{"count", count, "/ sub start? end?"},
    NativeRow{"split", [](NativeCall& c) { return split_any(c, false); }, "sep? maxsplit?"},
    NativeRow{"rsplit", [](NativeCall& c) { return split_any(c, true); }, "sep? maxsplit?"},
    NativeRow{"splitlines", splitlines, "keepends?"},
    NativeRow{"partition", [](NativeCall& c) { return partition_any(c, false); }, "/ sep"},
    NativeRow{"rpartition", [](NativeCall& c) { return partition_any(c, true); }, "/ sep"},
    NativeRow{"replace", replace, "/ old new count?"},
    NativeRow{"join", join_method, "/ iterable"},
    NativeRow{"isalpha", all_are<is_alpha>, ""},
    NativeRow{"isalnum", all_are<is_alnum>, ""},
    NativeRow{"isdecimal", all_are<is_decimal>, ""},
    NativeRow{"isdigit", all_are<is_digit>, ""},
    NativeRow{"isnumeric", all_are<is_numeric>, ""},
    NativeRow{"isspace", all_are<is_space>, ""},
    NativeRow{"isascii", is_ascii, ""},
    NativeRow{"isprintable", is_printable_text, ""},
    NativeRow{"isidentifier", is_identifier, ""},
    NativeRow{"islower", has_case<is_lower, is_upper>, ""},
    NativeRow{"isupper", has_case<is_upper, is_lower>, ""},
    NativeRow{"istitle", is_title_case, ""},
};
// clang-format on

}  // namespace

std::span<const NativeRow> string_search_methods() {
  return kSearchMethods;
}

}  // namespace krasis::jinja
