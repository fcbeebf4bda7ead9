// A model's chat template: a Jinja program that turns messages into the text of a prompt.
//
// The language is Jinja2 3.1's in the environment that transformers sets up (apply_chat_template):
// trim_blocks, lstrip_blocks, no autoescape, break and continue, `generation` blocks (which render
// as what is inside), `tojson` as plain JSON (ensure_ascii, indent, separators, sort_keys),
// `raise_exception`, `strftime_now`. Differences: lists and dicts may be changed by their methods;
// integers are 64 bits wide and an operation that leaves them is an error; extends, include and
// import are errors, as there is no other template.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "text/jinja/limits.h"
#include "text/jinja/runtime.h"

namespace krasis {

namespace jinja {
struct Tree;
}

class ChatTemplate {
 public:
  // `name` stands in error messages, for example a file's name. Throws Error(InvalidArgument,
  // "chat template: NAME:LINE: ...") for a template that cannot be parsed; so do all errors below.
  ChatTemplate(const std::string& source, std::string name);
  ChatTemplate(ChatTemplate&& other) noexcept;
  ChatTemplate& operator=(ChatTemplate&& other) noexcept;
  ~ChatTemplate();

  struct Input {
    nlohmann::ordered_json messages;  // array
    nlohmann::ordered_json tools;     // array or null
    // An object whose members become variables, as the keyword arguments of apply_chat_template:
    // add_generation_prompt (false unless given), documents (none unless given), bos_token, ...
    nlohmann::ordered_json variables = nlohmann::ordered_json::object();
    jinja::LocalTime now;  // what strftime_now shows
  };
  // Thread-safe: a template is not changed by rendering.
  std::string render(const Input& input, const jinja::Limits& limits = {}) const;

 private:
  std::string name_;
  std::unique_ptr<const jinja::Tree> tree_;
};

// The local time of this machine now.
jinja::LocalTime local_time_now();

}  // namespace krasis
