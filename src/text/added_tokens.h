// Tokens that stand beside the model's vocabulary ("<|im_end|>") and are cut out of a text before
// the model sees it. At every position the longest token wins, and the leftmost position of all.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace krasis::text {

struct AddedToken {
  std::int32_t id = 0;
  std::string pattern;  // what is searched for, normalized where the token asks for it
  bool special = false;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and after it
};

// A part of a text: a token, or text in between where id is negative.
struct TokenCut {
  std::int32_t id = -1;
  std::size_t begin = 0;
  std::size_t end = 0;
};

class AddedTokenMatcher {
 public:
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  // Writes the parts of `text` (valid UTF-8) to `cuts`, in order, without empty text parts. Special
  // tokens are text like any other where `with_special` is false.
  void cut(std::string_view text, bool with_special, std::vector<TokenCut>& cuts) const;

 private:
  struct Node {
    std::int32_t token = -1;  // index into tokens_ of the token that ends here
    std::int32_t first_edge = -1;
  };
  struct Edge {
    unsigned char byte = 0;
    std::int32_t target = 0;
    std::int32_t next = -1;
  };
  struct Match {
    std::int32_t token = -1;
    std::size_t length = 0;
  };

  void insert(std::int32_t token);
  std::int32_t child(std::int32_t node, unsigned char byte) const;
  Match longest_at(std::string_view text, std::size_t at) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::vector<Edge> edges_;
  std::int32_t roots_[256];  // node of a first byte, or -1
  int distinct_roots_ = 0;
  char only_root_ = 0;  // the first byte of all tokens, where distinct_roots_ is 1
};

}  // namespace krasis::text
