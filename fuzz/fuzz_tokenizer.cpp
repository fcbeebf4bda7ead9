// links: text formats base
// Any bytes as a tokenizer.json, followed (after a NUL byte) by a text: loading, encoding and
// decoding return or throw Error. What is encoded streams to the text that decode() gives.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = input.find('\0');
  const std::string_view json = input.substr(0, end);
  const std::string_view text =
      end == std::string_view::npos ? "a <s>b\xC3\xA9\n\xFF" : input.substr(end + 1);
  try {
    const auto tokenizer = krasis::text::Tokenizer::from_json(json);
    std::vector<std::int32_t> ids = tokenizer.encode(text, {.add_special_tokens = true});
    ids.push_back(static_cast<std::int32_t>(size % 300));
    krasis::text::Detokenizer stream(tokenizer);
    std::string streamed;
    for (const std::int32_t id : ids) streamed += stream.push(id);
    streamed += stream.finish();
    if (streamed != tokenizer.decode(ids)) std::abort();
  } catch (const krasis::Error&) {
  }
  return 0;
}
