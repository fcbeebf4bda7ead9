#include "chat/line_reader.h"

#include <cstdio>
#include <histedit.h>
#include <iostream>
#include <unistd.h>
#include <utility>

namespace krasis {
namespace {

// Terminals put these around pasted text once asked to.
constexpr const char* kPasteOn = "\033[?2004h";
constexpr const char* kPasteOff = "\033[?2004l";
constexpr const char* kPasteStart = "\033[200~";
constexpr std::string_view kPasteEnd = "\033[201~";
constexpr std::size_t kMaxPasteBytes = std::size_t{16} << 20;

unsigned char insert_paste(EditLine* line, int /*key*/) {
  std::string text;
  char byte = 0;
  while (text.size() < kMaxPasteBytes && el_getc(line, &byte) == 1) {
    text += byte == '\r' ? '\n' : byte;
    if (text.ends_with(kPasteEnd)) {
      text.resize(text.size() - kPasteEnd.size());
      break;
    }
  }
  while (text.ends_with('\n')) text.pop_back();
  if (!text.empty() && el_insertstr(line, text.c_str()) != 0) return CC_ERROR;
  return CC_REFRESH;
}

void write_terminal(const char* text) {
  std::fputs(text, stdout);
  std::fflush(stdout);
}

}  // namespace

struct LineReader::Editor {
  explicit Editor(std::string prompt_text)
      : prompt(std::move(prompt_text)),
        line(el_init("krasis", stdin, stdout, stderr)),
        history(history_init()) {
    HistEvent event{};
    ::history(history, &event, H_SETSIZE, 1000);
    el_set(line, EL_CLIENTDATA, this);
    el_set(
        line, EL_PROMPT, +[](EditLine* self) {
          Editor* editor = nullptr;
          el_get(self, EL_CLIENTDATA, &editor);
          return editor->prompt.data();
        });
    el_set(line, EL_EDITOR, "emacs");
    el_set(line, EL_HIST, ::history, history);
    el_set(line, EL_ADDFN, "insert-paste", "insert pasted text", insert_paste);
    el_set(line, EL_BIND, kPasteStart, "insert-paste", nullptr);
    el_source(line, nullptr);  // the user's ~/.editrc
  }
  Editor(const Editor&) = delete;
  Editor& operator=(const Editor&) = delete;
  ~Editor() {
    history_end(history);
    el_end(line);
  }

  std::string prompt;
  EditLine* line;
  History* history;
};

LineReader::LineReader(std::string prompt) {
  if (::isatty(STDIN_FILENO) != 0 && ::isatty(STDOUT_FILENO) != 0)
    editor_ = std::make_unique<Editor>(std::move(prompt));
}

LineReader::~LineReader() = default;

std::optional<std::string> LineReader::read() {
  if (!editor_) {
    std::string line;
    if (!std::getline(std::cin, line)) return std::nullopt;
    return line;
  }
  write_terminal(kPasteOn);
  int count = 0;
  const char* text = el_gets(editor_->line, &count);
  write_terminal(kPasteOff);
  if (text == nullptr || count <= 0) {
    if (count < 0) {  // interrupted
      write_terminal("\n");
      return "";
    }
    return std::nullopt;
  }
  std::string line(text, static_cast<std::size_t>(count));
  while (line.ends_with('\n')) line.pop_back();
  if (!line.empty()) {
    HistEvent event{};
    ::history(editor_->history, &event, H_ENTER, line.c_str());
  }
  return line;
}

}  // namespace krasis
