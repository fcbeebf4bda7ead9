// links: text
// Any bytes as a chat template, parsed and rendered for a short conversation with small limits.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto kMessages = nlohmann::ordered_json::parse(
      R"([{"role":"system","content":"Be brief."},{"role":"user","content":"Größe? 日本"},)"
      R"({"role":"assistant","content":null,"tool_calls":[{"function":{"name":"f","arguments":{"a":1.5}}}]}])");
  krasis::jinja::Limits limits;
  limits.steps = 20'000;
  limits.created_bytes = std::size_t{1} << 24;
  limits.output_bytes = std::size_t{1} << 20;
  // Room for the sanitizer's larger stack frames.
  limits.depth = 400;
  try {
    const std::string source(reinterpret_cast<const char*>(data), size);
    const krasis::ChatTemplate chat_template(source, "fuzz");
    krasis::ChatTemplate::Input input;
    input.messages = kMessages;
    input.variables = {{"bos_token", "<s>"}, {"add_generation_prompt", true}};
    chat_template.render(input, limits);
  } catch (const krasis::Error&) {
    return 0;
  }
  return 0;
}
