#include "text/jinja/text.h"

#include <algorithm>
#include <utility>

namespace krasis::jinja {
namespace {

bool is_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U;
}

std::size_t sequence_length(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xE0) return 2;
  return lead < 0xF0 ? 3 : 4;
}

// The byte before `end` at which a code point starts.
std::size_t previous_start(std::string_view bytes, std::size_t end) {
  std::size_t start = end - 1;
  while (start > 0 && is_continuation(bytes[start])) --start;
  return start;
}

template <typename Predicate>
std::string_view strip_left_if(std::string_view bytes, Predicate drop) {
  std::size_t position = 0;
  while (position < bytes.size()) {
    std::size_t next = position;
    if (!drop(next_code_point(bytes, next))) break;
    position = next;
  }
  return bytes.substr(position);
}

template <typename Predicate>
std::string_view strip_right_if(std::string_view bytes, Predicate drop) {
  std::size_t end = bytes.size();
  while (end > 0) {
    const std::size_t start = previous_start(bytes, end);
    std::size_t position = start;
    if (!drop(next_code_point(bytes, position))) break;
    end = start;
  }
  return bytes.substr(0, end);
}

}  // namespace

TextPtr make_text(std::string bytes, bool markup) {
  const std::size_t length = count_code_points(bytes);
  return std::make_shared<const Text>(Text{std::move(bytes), length, markup});
}

bool valid_utf8(std::string_view bytes) {
  std::size_t i = 0;
  while (i < bytes.size()) {
    const auto lead = static_cast<unsigned char>(bytes[i]);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    if (lead < 0xC2 || lead > 0xF4) return false;
    const std::size_t length = sequence_length(lead);
    if (bytes.size() - i < length) return false;
    for (std::size_t k = 1; k < length; ++k)
      if (!is_continuation(bytes[i + k])) return false;
    std::size_t position = i;
    const char32_t c = next_code_point(bytes, position);
    const char32_t least = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
    if (c < least || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return false;
    i += length;
  }
  return true;
}

std::size_t count_code_points(std::string_view bytes) {
  return static_cast<std::size_t>(
      std::count_if(bytes.begin(), bytes.end(), [](char byte) { return !is_continuation(byte); }));
}

char32_t next_code_point(std::string_view bytes, std::size_t& position) {
  const auto lead = static_cast<unsigned char>(bytes[position]);
  const std::size_t length = sequence_length(lead);
  char32_t c = length == 1 ? lead : lead & (0x7FU >> length);
  for (std::size_t k = 1; k < length; ++k)
    c = (c << 6U) | (static_cast<unsigned char>(bytes[position + k]) & 0x3FU);
  position += length;
  return c;
}

void append_utf8(std::string& out, char32_t c) {
  const auto tail = [&](unsigned shift) {
    return static_cast<char>(0x80U | ((c >> shift) & 0x3FU));
  };
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += {static_cast<char>(0xC0U | (c >> 6U)), tail(0)};
  } else if (c < 0x10000) {
    out += {static_cast<char>(0xE0U | (c >> 12U)), tail(6), tail(0)};
  } else {
    out += {static_cast<char>(0xF0U | (c >> 18U)), tail(12), tail(6), tail(0)};
  }
}

std::u32string decode(std::string_view bytes) {
  std::u32string result;
  result.reserve(bytes.size());
  for (std::size_t position = 0; position < bytes.size();)
    result += next_code_point(bytes, position);
  return result;
}

std::string encode(std::u32string_view code_points) {
  std::string result;
  result.reserve(code_points.size());
  for (const char32_t c : code_points) append_utf8(result, c);
  return result;
}

std::size_t byte_offset(const Text& text, std::size_t index) {
  if (text.ascii()) return index;
  std::size_t position = 0;
  for (; index > 0; --index)
    position += sequence_length(static_cast<unsigned char>(text.bytes[position]));
  return position;
}

std::string_view substring(const Text& text, std::size_t begin, std::size_t end) {
  const std::size_t first = byte_offset(text, begin);
  const std::size_t last = byte_offset(text, end);
  return std::string_view(text.bytes).substr(first, last - first);
}

bool is_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13) || (c >= 28 && c <= 31);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_line_break(char32_t c) {
  return (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

std::string_view strip_left(std::string_view bytes) {
  return strip_left_if(bytes, is_space);
}
std::string_view strip_right(std::string_view bytes) {
  return strip_right_if(bytes, is_space);
}

std::string_view strip_left(std::string_view bytes, std::u32string_view chars) {
  return strip_left_if(bytes, [&](char32_t c) { return chars.find(c) != chars.npos; });
}

std::string_view strip_right(std::string_view bytes, std::u32string_view chars) {
  return strip_right_if(bytes, [&](char32_t c) { return chars.find(c) != chars.npos; });
}

std::string replace_all(std::string_view bytes, std::string_view old_part,
                        std::string_view new_part) {
  std::string result;
  std::size_t from = 0;
  for (std::size_t at; (at = bytes.find(old_part, from)) != bytes.npos; from = at + old_part.size())
    result.append(bytes.substr(from, at - from)).append(new_part);
  return result.append(bytes.substr(from));
}

std::string escape_html(std::string_view bytes) {
  std::string result;
  for (const char c : bytes) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '\'':
        result += "&#39;";
        break;
      case '"':
        result += "&#34;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

}  // namespace krasis::jinja
