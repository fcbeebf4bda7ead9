// What a client is told when its request cannot be served: OpenAI's error body.
#pragma once

#include <string>

#include "base/error.h"

namespace krasis::server {

struct ApiError {
  int status = 500;
  std::string message;
  std::string code;  // "" becomes null
};

// {"error": {"message", "type", "param": null, "code"}}; the type follows from the status.
std::string error_body(const ApiError& error);

// InvalidArgument and Unsupported are the client's (400), NotFound is 404, the rest ours (500).
ApiError api_error_of(const Error& error);

}  // namespace krasis::server
