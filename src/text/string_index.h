// A fixed map from strings to ids: one block of text and an open-addressing table.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace krasis::text {

class StringIndex {
 public:
  // Room for `count` strings of `bytes` bytes together.
  void reserve(std::size_t count, std::size_t bytes);
  // A string that is there already gets the new id.
  void insert(std::string_view text, std::int32_t id);
  std::optional<std::int32_t> find(std::string_view text) const;
  std::size_t size() const { return count_; }

 private:
  struct Slot {
    std::uint32_t hash = 0;
    std::uint32_t length = 0;
    std::uint64_t offset = 0;
    std::int32_t id = -1;  // -1: empty
  };

  std::size_t slot_of(std::string_view text, std::uint32_t hash) const;

  std::string text_;
  std::vector<Slot> slots_;  // a power of two
  std::size_t count_ = 0;
};

}  // namespace krasis::text
