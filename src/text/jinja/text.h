// Strings as the template language sees them: sequences of code points, stored as UTF-8.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace krasis::jinja {

// Immutable, always valid UTF-8.
struct Text {
  std::string bytes;
  std::size_t length = 0;  // code points
  bool markup = false;     // made by `safe` or `escape`: adding a plain string escapes that one
  bool ascii() const { return length == bytes.size(); }
};

// Shared, because values are copied freely and a Text refers to nothing: no cycle can arise.
using TextPtr = std::shared_ptr<const Text>;

TextPtr make_text(std::string bytes, bool markup = false);

bool valid_utf8(std::string_view bytes);  // strict: no surrogates, no overlong forms
std::size_t count_code_points(std::string_view bytes);
// The code point at byte `position`, which moves behind it.
char32_t next_code_point(std::string_view bytes, std::size_t& position);
void append_utf8(std::string& out, char32_t code_point);
std::u32string decode(std::string_view bytes);
std::string encode(std::u32string_view code_points);
// The byte at which code point `index` starts; `index` may equal the length.
std::size_t byte_offset(const Text& text, std::size_t index);
// Code points [begin, end), begin <= end <= length.
std::string_view substring(const Text& text, std::size_t begin, std::size_t end);

bool is_space(char32_t c);       // str.isspace, also the lexer's white space
bool is_line_break(char32_t c);  // where str.splitlines cuts
std::string_view strip_left(std::string_view bytes);
std::string_view strip_right(std::string_view bytes);
// Without leading and trailing code points that occur in `chars`.
std::string_view strip_left(std::string_view bytes, std::u32string_view chars);
std::string_view strip_right(std::string_view bytes, std::u32string_view chars);

std::string replace_all(std::string_view bytes, std::string_view old_part,
                        std::string_view new_part);
std::string escape_html(std::string_view bytes);  // & < > ' " as markupsafe writes them

}  // namespace krasis::jinja
