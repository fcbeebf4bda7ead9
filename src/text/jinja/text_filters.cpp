// Filters that turn one string into another.
#include <algorithm>
#include <array>
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

// The input as a string, which for a string is itself.
Value soft(NativeCall& call) {
  return to_string_value(call.runtime(), call.self());
}

// The str method of the same purpose, applied to the input as a string.
Value method(NativeCall& call, std::string_view name) {
  const Value text = soft(call);
  const NativeRow* row = find_string_method(name);
  return apply_filter(call.runtime(), *row, text, call.arguments());
}

Value trim(NativeCall& call) {
  const Value text = soft(call);
  Arguments arguments;
  if (call.given(0)) arguments.positional.push_back(call[0]);
  return apply_filter(call.runtime(), *find_string_method("strip"), text, arguments);
}

Value center(NativeCall& call) {
  const Value text = soft(call);
  const Arguments arguments{{call.value(0, Value::integer(80))}, {}};
  return apply_filter(call.runtime(), *find_string_method("center"), text, arguments);
}

Value replace(NativeCall& call) {
  Runtime& runtime = call.runtime();
  const Value text = runtime.string(to_text(runtime, call.self()));
  Arguments arguments;
  arguments.positional = {runtime.string(to_text(runtime, call[0])),
                          runtime.string(to_text(runtime, call[1]))};
  if (call.given_and_not_none(2)) arguments.positional.push_back(call[2]);
  return apply_filter(runtime, *find_string_method("replace"), text, arguments);
}

// Words begin behind blanks, dashes and opening brackets.
Value title(NativeCall& call) {
  const Value text = soft(call);
  const std::u32string decoded = decode(text.bytes());
  std::u32string word;
  std::string result;
  const auto flush = [&] {
    if (word.empty()) return;
    result += to_upper(encode(word.substr(0, 1))) + to_lower(encode(word.substr(1)));
    word.clear();
  };
  for (const char32_t c : decoded) {
    if (is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<') {
      flush();
      append_utf8(result, c);
    } else {
      word += c;
    }
  }
  flush();
  return call.runtime().string(std::move(result), text.text().markup);
}

Value to_string(NativeCall& call) {
  return soft(call);
}

Value safe(NativeCall& call) {
  return call.runtime().string(to_text(call.runtime(), call.self()), true);
}

Value escape(NativeCall& call) {
  if (call.self().is_string() && call.self().text().markup) return call.self();
  const std::string text = to_text(call.runtime(), call.self());
  call.runtime().charge(text.size() * 6);
  return call.runtime().string(escape_html(text), true);
}

Value force_escape(NativeCall& call) {
  const std::string text = to_text(call.runtime(), call.self());
  call.runtime().charge(text.size() * 6);
  return call.runtime().string(escape_html(text), true);
}

Value format_filter(NativeCall& call) {
  Runtime& runtime = call.runtime();
  const Value text = soft(call);
  const Arguments& arguments = call.arguments();
  if (!arguments.positional.empty() && !arguments.named.empty())
    call.fail("takes positional or named arguments, not both");
  if (arguments.named.empty())
    return format_percent(runtime, text.text(), runtime.tuple(arguments.positional));
  const Value named = runtime.dict();
  for (const auto& [name, value] : arguments.named) named.dict().set(Value::string(name), value);
  return format_percent(runtime, text.text(), named);
}

Value word_count(NativeCall& call) {
  const Value text = soft(call);
  std::int64_t count = 0;
  bool inside = false;
  for (const char32_t c : decode(text.bytes())) {
    const bool word = is_word(c);
    if (word && !inside) ++count;
    inside = word;
  }
  return Value::integer(count);
}

Value truncate(NativeCall& call) {
  Runtime& runtime = call.runtime();
  const std::int64_t most = call.integer(0, 255);
  const bool kill_words = call.flag(1, false);
  const Value end = call.given(2) ? call[2] : runtime.string(std::string("..."));
  if (!end.is_string()) call.fail("the end has to be a string");
  const std::int64_t leeway = call.given_and_not_none(3) ? call.integer(3) : 5;
  const auto end_length = static_cast<std::int64_t>(end.text().length);
  if (most < end_length) call.fail("the length is smaller than that of the end");
  if (leeway < 0) call.fail("the leeway is negative");
  if (call.self().is_undefined()) return call.self();
  if (!call.self().is_string()) call.fail("needs a string");
  const Text& text = call.self().text();
  if (static_cast<std::int64_t>(text.length) <= most + leeway) return call.self();
  std::string_view kept = substring(text, 0, static_cast<std::size_t>(most - end_length));
  if (!kill_words) kept = kept.substr(0, std::min(kept.rfind(' '), kept.size()));
  return runtime.string(std::string(kept) + end.text().bytes, text.markup);
}

std::string url_quote(std::string_view text, bool in_query) {
  std::string result;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '.' || c == '-' || c == '~' || (c == '/' && !in_query);
    if (plain) {
      result += c;
    } else if (c == ' ' && in_query) {
      result += '+';
    } else {
      const auto byte = static_cast<unsigned char>(c);
      result += {'%', "0123456789ABCDEF"[byte >> 4U], "0123456789ABCDEF"[byte & 0xFU]};
    }
  }
  return result;
}

Value url_encode(NativeCall& call) {
  Runtime& runtime = call.runtime();
  if (call.self().is_string() || !is_iterable(call.self()))
    return runtime.string(url_quote(to_text(runtime, call.self()), false));
  std::string result;
  const auto add = [&](const Value& key, const Value& value) {
    if (!result.empty()) result += '&';
    result +=
        url_quote(to_text(runtime, key), true) + "=" + url_quote(to_text(runtime, value), true);
    runtime.charge(result.size() / 16);
  };
  if (call.self().is(Kind::Dict)) {
    for (const Dict::Entry& entry : call.self().dict().entries()) add(entry.key, entry.value);
    return runtime.string(std::move(result));
  }
  for (const Value& pair : collect(runtime, call.self())) {
    const std::vector<Value> parts = collect(runtime, pair);
    if (parts.size() != 2) call.fail("needs pairs of a name and a value");
    add(parts[0], parts[1]);
  }
  return runtime.string(std::move(result));
}

Value xml_attributes(NativeCall& call) {
  Runtime& runtime = call.runtime();
  require_defined(runtime, call.self());
  if (!call.self().is(Kind::Dict)) call.fail("needs a dict");
  std::string result;
  for (const Dict::Entry& entry : call.self().dict().entries()) {
    if (entry.value.is_none() || entry.value.is_undefined()) continue;
    if (!entry.key.is_string()) call.fail("an attribute's name has to be a string");
    if (entry.key.bytes().find_first_of(" \t\n\r\f\v/>=") != std::string_view::npos)
      call.fail("'" + entry.key.text().bytes + "' cannot be an attribute's name");
    const std::string value = to_text(runtime, entry.value);
    const bool markup = entry.value.is_string() && entry.value.text().markup;
    if (!result.empty()) result += ' ';
    result += escape_html(entry.key.bytes()) + "=\"" + (markup ? value : escape_html(value)) + "\"";
  }
  if (!result.empty() && call.flag(0, true)) result.insert(0, 1, ' ');
  return runtime.string(std::move(result));
}

// Without comments and tags; runs of white space become one blank; entities of escape_html return.
Value strip_tags(NativeCall& call) {
  std::string text = to_text(call.runtime(), call.self());
  for (const auto& [open, close] : {std::pair<std::string_view, std::string_view>{"<!--", "-->"},
                                    std::pair<std::string_view, std::string_view>{"<", ">"}}) {
    std::string kept;
    std::size_t from = 0;
    for (std::size_t at; (at = text.find(open, from)) != text.npos;) {
      const std::size_t end = text.find(close, at);
      if (end == text.npos) break;
      kept.append(text, from, at - from);
      from = end + close.size();
    }
    text = kept.append(text, from);
  }
  const Value words = apply_filter(call.runtime(), *find_string_method("split"),
                                   call.runtime().string(std::move(text)), {});
  std::string result;
  for (const Value& word : words.items()) {
    if (!result.empty()) result += ' ';
    result += word.bytes();
  }
  for (const auto& [entity, character] :
       {std::pair<std::string_view, std::string_view>{"&lt;", "<"},
        {"&gt;", ">"},
        {"&#39;", "'"},
        {"&#34;", "\""},
        {"&quot;", "\""},
        {"&amp;", "&"}})
    result = replace_all(result, entity, character);
  return call.runtime().string(std::move(result));
}

// clang-format off
constexpr std::array kTextFilters = {
    NativeRow{"upper", [](NativeCall& c) { return method(c, "upper"); }, ""},
    NativeRow{"lower", [](NativeCall& c) { return method(c, "lower"); }, ""},
    NativeRow{"capitalize", [](NativeCall& c) { return method(c, "capitalize"); }, ""},
    NativeRow{"title", title, ""},
    NativeRow{"trim", trim, "chars?"},
    NativeRow{"center", center, "width?"},
    NativeRow{"replace", replace, "old new count?"},
    NativeRow{"string", to_string, ""},
    NativeRow{"safe", safe, ""},
    NativeRow{"escape", escape, ""},
    NativeRow{"e", escape, ""},
    NativeRow{"forceescape", force_escape, ""},
    NativeRow{"format", format_filter, "*"},
    NativeRow{"wordcount", word_count, ""},
    NativeRow{"truncate", truncate, "length? killwords? end? leeway?"},
    NativeRow{"urlencode", url_encode, ""},
    NativeRow{"xmlattr", xml_attributes, "autospace?"},
    NativeRow{"striptags", strip_tags, ""},
};
// clang-format on

}  // namespace

std::span<const NativeRow> text_filters() {
  return kTextFilters;
}

}  // namespace krasis::jinja
