#include "text/added_tokens.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "text/unicode.h"
#include "text/utf8.h"

namespace krasis::text {
namespace {

// \w of the reference's other regular expression library: letters, marks, decimal and letter
// numbers, connector punctuation, circled letters and the two joiners.
bool is_word(char32_t c) {
  if (c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9)) return true;
  if ((c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
      (c >= 0x1F170 && c <= 0x1F189))
    return true;
  using unicode::Category;
  const Category category = unicode::category_of(c);
  const char group = unicode::category_name(category)[0];
  return group == 'L' || group == 'M' || category == Category::Nd || category == Category::Nl ||
         category == Category::Pc;
}

std::size_t start_of_last(std::string_view text) {
  std::size_t start = text.size() - 1;
  while (start > 0 && utf8::is_continuation(text[start])) --start;
  return start;
}

bool starts_with_word(std::string_view text) {
  return !text.empty() && is_word(utf8::decode(text.data()).value);
}

bool ends_with_word(std::string_view text) {
  return !text.empty() && is_word(utf8::decode(text.data() + start_of_last(text)).value);
}

std::size_t without_trailing_space(std::string_view text) {
  while (!text.empty()) {
    const std::size_t start = start_of_last(text);
    if (!unicode::is_white_space(utf8::decode(text.data() + start).value)) break;
    text = text.substr(0, start);
  }
  return text.size();
}

std::size_t leading_space(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const utf8::CodePoint c = utf8::decode(text.data() + at);
    if (!unicode::is_white_space(c.value)) break;
    at += c.length;
  }
  return at;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::fill(std::begin(roots_), std::end(roots_), -1);
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    if (!tokens_[i].pattern.empty()) insert(static_cast<std::int32_t>(i));
  }
}

void AddedTokenMatcher::insert(std::int32_t token) {
  const std::string& pattern = tokens_[static_cast<std::size_t>(token)].pattern;
  const auto first = static_cast<unsigned char>(pattern[0]);
  const auto new_node = [this] {
    nodes_.emplace_back();
    return static_cast<std::int32_t>(nodes_.size() - 1);
  };
  if (roots_[first] < 0) {
    roots_[first] = new_node();
    ++distinct_roots_;
    only_root_ = pattern[0];
  }
  std::int32_t node = roots_[first];
  for (std::size_t i = 1; i < pattern.size(); ++i) {
    const auto byte = static_cast<unsigned char>(pattern[i]);
    std::int32_t target = child(node, byte);
    if (target < 0) {
      target = new_node();
      edges_.push_back({byte, target, nodes_[static_cast<std::size_t>(node)].first_edge});
      nodes_[static_cast<std::size_t>(node)].first_edge =
          static_cast<std::int32_t>(edges_.size() - 1);
    }
    node = target;
  }
  std::int32_t& end = nodes_[static_cast<std::size_t>(node)].token;
  if (end < 0) end = token;
}

std::int32_t AddedTokenMatcher::child(std::int32_t node, unsigned char byte) const {
  std::int32_t edge = nodes_[static_cast<std::size_t>(node)].first_edge;
  while (edge >= 0) {
    const Edge& e = edges_[static_cast<std::size_t>(edge)];
    if (e.byte == byte) return e.target;
    edge = e.next;
  }
  return -1;
}

AddedTokenMatcher::Match AddedTokenMatcher::longest_at(std::string_view text,
                                                       std::size_t at) const {
  Match match;
  std::int32_t node = roots_[static_cast<unsigned char>(text[at])];
  for (std::size_t i = at + 1; node >= 0; ++i) {
    const Node& n = nodes_[static_cast<std::size_t>(node)];
    if (n.token >= 0) match = {n.token, i - at};
    if (i >= text.size()) break;
    node = child(node, static_cast<unsigned char>(text[i]));
  }
  return match;
}

void AddedTokenMatcher::cut(std::string_view text, bool with_special,
                            std::vector<TokenCut>& cuts) const {
  cuts.clear();
  std::size_t done = 0;
  std::size_t at = 0;
  while (at < text.size() && distinct_roots_ > 0) {
    if (distinct_roots_ == 1) {
      const void* found = std::memchr(text.data() + at, only_root_, text.size() - at);
      if (found == nullptr) break;
      at = static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
    }
    const Match match = longest_at(text, at);
    if (match.token < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<std::size_t>(match.token)];
    std::size_t begin = at;
    std::size_t end = at + match.length;
    at = end;
    if (token.special && !with_special) continue;
    if (token.single_word &&
        (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end))))
      continue;
    if (token.lstrip && begin > done)  // not what an earlier token has taken
      begin = done + without_trailing_space(text.substr(done, begin - done));
    if (token.rstrip) end += leading_space(text.substr(end));
    begin = std::max(begin, done);  // the white space that a token took may hold another token
    end = std::max(end, done);
    if (done < begin) cuts.push_back({-1, done, begin});
    cuts.push_back({token.id, begin, end});
    done = end;
  }
  if (done < text.size()) cuts.push_back({-1, done, text.size()});
}

}  // namespace krasis::text
