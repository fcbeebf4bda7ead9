// A flag that one thread raises and long work looks at now and then.
#pragma once

#include <atomic>
#include <string>

#include "base/error.h"

namespace krasis {

class CancelFlag {
 public:
  void raise() { raised_.store(true, std::memory_order_relaxed); }  // safe in a signal handler
  bool raised() const { return raised_.load(std::memory_order_relaxed); }

  // Throws Error(Cancelled) "WHAT: cancelled" once the flag is up.
  void check(const std::string& what) const {
    if (raised()) throw Error(ErrorCode::Cancelled, what + ": cancelled");
  }

 private:
  std::atomic<bool> raised_{false};
};

}  // namespace krasis
