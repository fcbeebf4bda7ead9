#include "chat/sse_reader.h"

#include "base/error.h"

namespace krasis {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{16} << 20;

}  // namespace

std::vector<std::string> SseReader::push(std::string_view bytes) {
  std::vector<std::string> events;
  for (const char byte : bytes) {
    const bool second_of_pair = byte == '\n' && after_carriage_return_;
    after_carriage_return_ = byte == '\r';
    if (second_of_pair) continue;
    if (byte == '\n' || byte == '\r') {
      take_line(line_, events);
      line_.clear();
      continue;
    }
    line_ += byte;
    if (line_.size() > kMaxBytes || data_.size() > kMaxBytes)
      throw Error(ErrorCode::Corrupt, "event stream: an event is longer than 16 MiB");
  }
  return events;
}

void SseReader::take_line(std::string_view line, std::vector<std::string>& events) {
  if (line.empty()) {  // the end of an event
    if (has_data_) events.push_back(data_);
    data_.clear();
    has_data_ = false;
    return;
  }
  constexpr std::string_view kField = "data:";
  if (!line.starts_with(kField)) return;  // a comment, or a field we have no use for
  line.remove_prefix(kField.size());
  if (line.starts_with(' ')) line.remove_prefix(1);
  if (has_data_) data_ += '\n';
  data_ += line;
  has_data_ = true;
}

}  // namespace krasis
