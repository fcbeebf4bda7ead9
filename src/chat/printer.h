// Prints an answer as it comes.
#pragma once

#include <string>
#include <string_view>

#include "chat/backend.h"

namespace krasis {

// Text that a terminal shows instead of obeying: control characters but line feed and tab are left
// out.
std::string without_controls(std::string_view text);

class AnswerPrinter {
 public:
  AnswerPrinter();  // colour where standard output is a terminal and NO_COLOR is not set

  void print(const ChatDelta& delta);  // reasoning dimmed
  void end();                          // ends the line and the colour
  void note(const std::string& text);  // a dimmed line on standard error
  bool colour() const { return colour_; }

 private:
  void set_dim(bool dim);

  bool colour_ = false;
  bool dim_ = false;
  bool at_line_start_ = true;
};

// "[12 + 85 tokens, first after 0.21 s, 41.3 tok/s]"
std::string usage_line(const ChatUsage& usage);

}  // namespace krasis
