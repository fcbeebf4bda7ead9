// links: chat
// An event stream gives the same events however it is cut.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "chat/sse_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  krasis::SseReader whole_reader;
  const std::vector<std::string> whole = whole_reader.push(bytes);
  krasis::SseReader cut_reader;
  std::vector<std::string> cut;
  for (std::size_t at = 0; at < size;) {
    const std::size_t length = 1 + data[at] % 7;  // the bytes themselves say where to cut
    for (std::string& event : cut_reader.push(bytes.substr(at, length)))
      cut.push_back(std::move(event));
    at += length;
  }
  if (whole != cut) std::abort();
  return 0;
}
