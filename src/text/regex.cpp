#include "text/regex.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <pcre2.h>
#include <utility>

#include "base/error.h"
#include "text/regex_translate.h"
#include "text/utf8.h"

namespace krasis::text {
namespace {

// The largest stack of a compiled search. Patterns that need it backtrack into groups; what does
// not fit is searched again by the interpreter, which keeps its states on the heap.
constexpr std::size_t kJitStackBytes = std::size_t{1} << 20;
constexpr std::uint32_t kHeapKib = 512 * 1024;
// Steps a search may take: PCRE2's own default, and some for every byte of a long run of one class,
// which a failing alternative may give back character by character.
constexpr std::uint32_t kSteps = 10'000'000;
constexpr std::uint32_t kStepsPerByte = 8;

std::uint32_t step_limit(std::size_t bytes) {
  constexpr std::size_t kMost = (std::size_t{0xFFFFFFFF} - kSteps) / kStepsPerByte;
  return kSteps + static_cast<std::uint32_t>(std::min(bytes, kMost)) * kStepsPerByte;
}

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

PCRE2_SPTR units(std::string_view text) {
  return reinterpret_cast<PCRE2_SPTR>(text.data());
}

}  // namespace

struct RegexScratch::State {
  State()
      : data(pcre2_match_data_create(1, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(32 * 1024, kJitStackBytes, nullptr)) {
    if (stack != nullptr) pcre2_jit_stack_assign(context, nullptr, stack);
    pcre2_set_heap_limit(context, kHeapKib);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (stack != nullptr) pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }

  pcre2_match_data* data;
  pcre2_match_context* context;
  pcre2_jit_stack* stack;
};

RegexScratch::RegexScratch() : state_(std::make_unique<State>()) {}
RegexScratch::~RegexScratch() = default;

struct Regex::Code {
  explicit Code(pcre2_code* c) : code(c) {}
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() { pcre2_code_free(code); }
  pcre2_code* code;
};

Regex::Regex(const PatternSpec& pattern) : source_(pattern.text) {
  const std::string translated =
      pattern.is_regex ? translate_to_pcre2(pattern.text) : quote_for_pcre2(pattern.text);
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  int error = 0;
  std::size_t offset = 0;
  pcre2_code* code = pcre2_compile(
      units(translated), translated.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context);
  pcre2_compile_context_free(context);
  if (code == nullptr) {
    throw Error(ErrorCode::Unsupported,
                fmt::format("regular expression: \"{}\": {}", source_, message_of(error)));
  }
  code_ = std::make_unique<Code>(code);
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where it fails, the interpreter does the work
}

Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

std::optional<Span> Regex::search(std::string_view text, std::size_t from,
                                  RegexScratch& scratch) const {
  const RegexScratch::State& state = *scratch.state_;
  pcre2_set_match_limit(state.context, step_limit(text.size()));
  const auto match = [&](std::uint32_t options) {
    return pcre2_match(code_->code, units(text), text.size(), from, options, state.data,
                       state.context);
  };
  int result = match(PCRE2_NO_UTF_CHECK);
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = match(PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT);
  if (result == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (result < 0) {
    throw Error(
        ErrorCode::Unsupported,
        fmt::format("regular expression: \"{}\": gave up at byte {} of a text of {} bytes: {}",
                    source_, from, text.size(), message_of(result)));
  }
  const PCRE2_SIZE* found = pcre2_get_ovector_pointer(state.data);
  return Span{found[0], found[1]};
}

std::optional<Span> RegexMatches::next() {
  while (from_ <= text_.size()) {
    const std::optional<Span> found = regex_.search(text_, from_, scratch_);
    if (!found) {
      from_ = text_.size() + 1;
      return std::nullopt;
    }
    if (found->begin == found->end && last_end_ == found->end) {
      from_ += from_ < text_.size() ? utf8::decode(text_.data() + from_).length : 1;
      continue;
    }
    from_ = found->end;
    last_end_ = found->end;
    return found;
  }
  return std::nullopt;
}

}  // namespace krasis::text
