// XXH3 checksums (xxHash): fast enough to check every byte that is loaded. Not for secrets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace krasis {

std::uint64_t xxh3_64(std::span<const std::byte> bytes);

// Identifies what was added, in order; a text is set apart from its neighbours, so that ("ab", "c")
// and ("a", "bc") differ. 128 bits as 32 hexadecimal digits.
class Fingerprint {
 public:
  Fingerprint();
  void add(std::string_view text);
  void add(std::uint64_t number);
  std::string text() const;

 private:
  struct Free {
    void operator()(void* state) const;
  };
  std::unique_ptr<void, Free> state_;
};

}  // namespace krasis
