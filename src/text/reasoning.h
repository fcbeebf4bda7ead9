// Splits a streamed answer of a reasoning model into what it thought and what it says:
//   [white space] OPEN reasoning CLOSE answer
// OPEN counts only at the very start of the text; a tag anywhere else, and every further tag in the
// answer, is text like any other. Where the chat template has written OPEN into the prompt, the
// text starts inside the reasoning (and an OPEN that the model repeats there is dropped).
#pragma once

#include <string>
#include <string_view>

namespace krasis::text {

struct ReasoningOptions {
  std::string open = "<think>";
  std::string close = "</think>";
  bool starts_inside = false;
  // Drops the white space that only sets the parts off: around the reasoning, and before the answer
  // where a reasoning came first.
  bool trim = true;
};

struct ReasoningPiece {
  std::string reasoning;
  std::string answer;
};

class ReasoningSplitter {
 public:
  // Tags are not empty.
  explicit ReasoningSplitter(ReasoningOptions options = {});

  // What has become certain. Tags may lie across pieces; only a possible start of a tag and white
  // space that may be trimmed are held back.
  ReasoningPiece push(std::string_view piece);
  // What was held back.
  ReasoningPiece finish();

  bool inside_reasoning() const { return state_ == State::Reasoning; }

 private:
  enum class State { Start, Reasoning, Answer };

  bool take_open();
  void take_reasoning(ReasoningPiece& out);
  void take_answer(ReasoningPiece& out);
  void emit_reasoning(std::string_view text, ReasoningPiece& out);

  ReasoningOptions options_;
  State state_;
  std::string held_;            // not looked at to the end yet
  std::string spaces_;          // white space that is dropped if the reasoning ends here
  bool maybe_open_ = true;      // an OPEN may still come
  bool any_reasoning_ = false;  // some was returned
  bool trim_answer_ = false;    // still before the first visible character of the answer
};

}  // namespace krasis::text
