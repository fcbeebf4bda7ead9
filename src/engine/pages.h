// Numbers handed out and taken back: pages of the key-value cache, slots of recurrent state.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace krasis {

class FreeList {
 public:
  explicit FreeList(std::int64_t count);  // all of [0, count) free

  std::optional<std::int32_t> try_take();
  // Takes `count` numbers onto the end of `to`, or none of them.
  bool try_take(std::int64_t count, std::vector<std::int32_t>& to);
  void give_back(std::int32_t number);
  void give_back(std::span<const std::int32_t> numbers);

  std::int64_t free() const { return static_cast<std::int64_t>(free_.size()); }
  std::int64_t total() const { return static_cast<std::int64_t>(taken_.size()); }

 private:
  std::vector<std::int32_t> free_;
  std::vector<bool> taken_;  // by number: giving back twice is a broken invariant
};

}  // namespace krasis
