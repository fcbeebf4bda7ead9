// The one exception type. Thrown when a unit of work (start-up, loading a model, one request)
// cannot go on; caught only in main(), in the request handler and at a worker thread's edge.
// Outcomes a caller is expected to branch on are return values, never exceptions.
#pragma once

#include <stdexcept>
#include <string>

namespace krasis {

enum class ErrorCode {
  InvalidArgument,  // the caller asked for something meaningless; HTTP 400, exit code 2
  NotFound,         // a file, tensor or model does not exist; HTTP 404, exit code 2
  Corrupt,          // bytes contradict their format
  Unsupported,      // well formed, but not something this build can run
  OutOfMemory,      // host or device memory; exit code 3
  Device,           // a GPU or its driver cannot do it or failed; exit code 3
  Io,
  Cancelled,
  Internal,  // a broken invariant: our bug
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

// Throws Error(Internal) unless `condition`. For invariants only; costs one branch.
void ensure(bool condition, const char* message);

}  // namespace krasis
