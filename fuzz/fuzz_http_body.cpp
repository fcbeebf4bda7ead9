// links: server
// A request's body, whatever its bytes, is parsed or refused as the client's mistake.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "server/api_error.h"
#include "server/api_request.h"

namespace {

template <class Parse>
void parses_or_refuses(Parse parse, std::string_view body) {
  try {
    parse(body, krasis::SamplingOptions{});
  } catch (const krasis::Error& error) {
    if (error.code() != krasis::ErrorCode::InvalidArgument) std::abort();
    krasis::server::error_body(krasis::server::api_error_of(error));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  parses_or_refuses(krasis::server::parse_chat_request, body);
  parses_or_refuses(krasis::server::parse_completion_request, body);
  return 0;
}
