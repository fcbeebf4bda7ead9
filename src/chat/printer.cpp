#include "chat/printer.h"

#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <unistd.h>

namespace krasis {
namespace {

constexpr const char* kDim = "\033[2m";
constexpr const char* kPlain = "\033[0m";

}  // namespace

std::string without_controls(std::string_view text) {
  std::string shown;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F are C2 80 to C2 9F in UTF-8: some terminals obey them too.
    const bool c1 = byte == 0xc2 && i + 1 < text.size() &&
                    static_cast<unsigned char>(text[i + 1]) >= 0x80 &&
                    static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (c1) {
      ++i;
    } else if (byte == '\n' || byte == '\t' || (byte >= 0x20 && byte != 0x7f)) {
      shown += text[i];
    }
  }
  return shown;
}

AnswerPrinter::AnswerPrinter() {
  const char* no_colour = std::getenv("NO_COLOR");
  colour_ = ::isatty(STDOUT_FILENO) != 0 && (no_colour == nullptr || *no_colour == '\0');
}

void AnswerPrinter::set_dim(bool dim) {
  if (dim == dim_) return;
  if (colour_) std::fputs(dim ? kDim : kPlain, stdout);
  dim_ = dim;
}

void AnswerPrinter::print(const ChatDelta& delta) {
  for (const bool reasoning : {true, false}) {
    const std::string text = without_controls(reasoning ? delta.reasoning : delta.text);
    if (text.empty()) continue;
    if (!reasoning && dim_ && !at_line_start_) std::fputs("\n", stdout);
    set_dim(reasoning);
    std::fwrite(text.data(), 1, text.size(), stdout);
    at_line_start_ = text.ends_with('\n');
  }
  std::fflush(stdout);
}

void AnswerPrinter::end() {
  set_dim(false);
  if (!at_line_start_) std::fputs("\n", stdout);
  at_line_start_ = true;
  std::fflush(stdout);
}

void AnswerPrinter::note(const std::string& text) {
  const std::string line =
      colour_ ? fmt::format("{}{}{}\n", kDim, text, kPlain) : fmt::format("{}\n", text);
  std::fwrite(line.data(), 1, line.size(), stderr);
}

std::string usage_line(const ChatUsage& usage) {
  if (usage.cancelled) return "[stopped]";
  std::string line = fmt::format("[{} + {} tokens, first after {:.2f} s", usage.prompt_tokens,
                                 usage.completion_tokens, usage.first_token_seconds);
  const double writing = usage.total_seconds - usage.first_token_seconds;
  if (usage.completion_tokens > 1 && writing > 0) {
    line +=
        fmt::format(", {:.1f} tok/s", static_cast<double>(usage.completion_tokens - 1) / writing);
  }
  if (usage.finish_reason == "length") line += ", cut at the limit";
  return line + "]";
}

}  // namespace krasis
