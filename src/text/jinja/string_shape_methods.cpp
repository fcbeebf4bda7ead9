// str methods that return the string in another shape: case, padding, stripping, formatting.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/format.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/unicode.h"

namespace krasis::jinja {
namespace {

const Text& self_text(const NativeCall& call) {
  return call.self().text();
}

Value piece(NativeCall& call, std::string bytes) {
  return call.runtime().string(std::move(bytes), self_text(call).markup);
}

template <std::string (*Map)(std::string_view)>
Value mapped(NativeCall& call) {
  call.runtime().charge(self_text(call).bytes.size());
  return piece(call, Map(self_text(call).bytes));
}

Value strip_sides(NativeCall& call, bool left, bool right) {
  std::string_view text = self_text(call).bytes;
  if (call.given_and_not_none(0)) {
    const std::u32string chars = decode(call.text(0).bytes);
    if (left) text = strip_left(text, chars);
    if (right) text = strip_right(text, chars);
  } else {
    if (left) text = strip_left(text);
    if (right) text = strip_right(text);
  }
  return piece(call, std::string(text));
}

Value justify(NativeCall& call, char align) {
  FormatSpec spec;
  spec.width = static_cast<std::size_t>(std::max<std::int64_t>(0, call.integer(0)));
  if (call.given(1)) {
    if (call.text(1).length != 1) call.fail("the fill has to be one character");
    spec.fill = decode(call.text(1).bytes)[0];
  }
  const Text& text = self_text(call);
  // An odd rest goes to the left of a centred string whose width is odd.
  if (align == '^' && spec.width > text.length && (spec.width - text.length) % 2 == 1 &&
      spec.width % 2 == 1) {
    FormatSpec left = spec;
    left.width = text.length + (spec.width - text.length) / 2 + 1;
    return piece(call,
                 pad(call.runtime(), pad(call.runtime(), text.bytes, left, '>', 0), spec, '<', 0));
  }
  return piece(call, pad(call.runtime(), text.bytes, spec, align, 0));
}

Value zero_fill(NativeCall& call) {
  FormatSpec spec;
  spec.width = static_cast<std::size_t>(std::max<std::int64_t>(0, call.integer(0)));
  spec.fill = '0';
  const std::string& text = self_text(call).bytes;
  const bool sign = text.starts_with('-') || text.starts_with('+');
  return piece(call, pad(call.runtime(), text, spec, '=', sign ? 1 : 0));
}

Value remove_affix(NativeCall& call, bool at_start) {
  std::string_view text = self_text(call).bytes;
  const std::string_view part = call.text(0).bytes;
  if (at_start && text.starts_with(part)) text.remove_prefix(part.size());
  if (!at_start && text.ends_with(part)) text.remove_suffix(part.size());
  return piece(call, std::string(text));
}

Value expand_tabs(NativeCall& call) {
  const std::int64_t width = std::min<std::int64_t>(call.integer(0, 8), 1'000'000);
  std::string result;
  std::int64_t column = 0;
  const std::string& text = self_text(call).bytes;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = at;
    const char32_t c = next_code_point(text, at);
    if (c == '\t') {
      const std::int64_t spaces = width > 0 ? width - column % width : 0;
      call.runtime().charge(static_cast<std::size_t>(spaces));
      result.append(static_cast<std::size_t>(spaces), ' ');
      column += spaces;
    } else {
      result.append(text, start, at - start);
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
  }
  return piece(call, std::move(result));
}

Value format(NativeCall& call) {
  return format_braces(call.runtime(), self_text(call), call.arguments());
}

Value format_map(NativeCall& call) {
  if (!call[0].is(Kind::Dict)) call.fail("needs a dict");
  Arguments arguments;
  for (const Dict::Entry& entry : call[0].dict().entries())
    if (entry.key.is_string()) arguments.named.emplace_back(entry.key.text_ptr(), entry.value);
  return format_braces(call.runtime(), self_text(call), arguments);
}

// clang-format off
constexpr std::array kShapeMethods = {
    NativeRow{"upper", mapped<to_upper>, ""},
    NativeRow{"lower", mapped<to_lower>, ""},
    NativeRow{"capitalize", mapped<capitalize>, ""},
    NativeRow{"title", mapped<title_case>, ""},
    NativeRow{"swapcase", mapped<swap_case>, ""},
    NativeRow{"casefold", mapped<case_fold>, ""},
    NativeRow{"strip", [](NativeCall& c) { return strip_sides(c, true, true); }, "/ chars?"},
    NativeRow{"lstrip", [](NativeCall& c) { return strip_sides(c, true, false); }, "/ chars?"},
    NativeRow{"rstrip", [](NativeCall& c) { return strip_sides(c, false, true); }, "/ chars?"},
    NativeRow{"ljust", [](NativeCall& c) { return justify(c, '<'); }, "/ width fillchar?"},
    NativeRow{"rjust", [](NativeCall& c) { return justify(c, '>'); }, "/ width fillchar?"},
    NativeRow{"center", [](NativeCall& c) { return justify(c, '^'); }, "/ width fillchar?"},
    NativeRow{"zfill", zero_fill, "/ width"},
    NativeRow{"removeprefix", [](NativeCall& c) { return remove_affix(c, true); }, "/ prefix"},
    NativeRow{"removesuffix", [](NativeCall& c) { return remove_affix(c, false); }, "/ suffix"},
    NativeRow{"expandtabs", expand_tabs, "tabsize?"},
    NativeRow{"format", format, "*"},
    NativeRow{"format_map", format_map, "/ mapping"},
};
// clang-format on

}  // namespace

std::span<const NativeRow> string_shape_methods() {
  return kShapeMethods;
}

}  // namespace krasis::jinja
