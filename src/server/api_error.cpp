#include "server/api_error.h"

#include <nlohmann/json.hpp>
#include <string_view>

namespace krasis::server {
namespace {

const char* type_of(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "unavailable_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

}  // namespace

std::string error_body(const ApiError& error) {
  using Json = nlohmann::ordered_json;
  const Json body = {{"error",
                      {{"message", error.message},
                       {"type", type_of(error.status)},
                       {"param", nullptr},
                       {"code", error.code.empty() ? Json() : Json(error.code)}}}};
  // Messages may quote what the client sent, whatever bytes that were.
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

ApiError api_error_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::InvalidArgument:
    case ErrorCode::Unsupported: {
      // Clients that shorten their conversation look for this code.
      const bool too_long =
          std::string_view(error.what()).find("the context holds") != std::string_view::npos;
      return {400, error.what(), too_long ? "context_length_exceeded" : ""};
    }
    case ErrorCode::NotFound:
      return {404, error.what(), "model_not_found"};
    default:
      return {500, error.what(), ""};
  }
}

}  // namespace krasis::server
