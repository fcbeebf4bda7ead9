// Reads what the user types: with line editing, history and multi-line paste on a terminal, plain
// lines otherwise.
#pragma once

#include <memory>
#include <optional>
#include <string>

namespace krasis {

class LineReader {
 public:
  explicit LineReader(std::string prompt);
  ~LineReader();

  // The next message, without its line end; several lines if they were pasted. nullopt at the end
  // of input. Ctrl-C throws the line away and gives "".
  std::optional<std::string> read();

 private:
  struct Editor;
  std::unique_ptr<Editor> editor_;  // none without a terminal
};

}  // namespace krasis
