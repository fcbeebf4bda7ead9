// Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), as far as
// OpenAI-compatible servers use them: the data of each event, comments left out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace krasis {

class SseReader {
 public:
  // The data of all events that `bytes` complete, in order. Throws Error(Corrupt) if one line or
  // one event is longer than 16 MiB.
  std::vector<std::string> push(std::string_view bytes);

 private:
  void take_line(std::string_view line, std::vector<std::string>& events);

  std::string line_;
  std::string data_;
  bool has_data_ = false;
  bool after_carriage_return_ = false;
};

}  // namespace krasis
