#include "engine/pages.h"

#include "base/error.h"

namespace krasis {

FreeList::FreeList(std::int64_t count) : taken_(static_cast<std::size_t>(count)) {
  free_.reserve(static_cast<std::size_t>(count));
  for (std::int64_t number = count; number-- > 0;)
    free_.push_back(static_cast<std::int32_t>(number));
}

std::optional<std::int32_t> FreeList::try_take() {
  if (free_.empty()) return std::nullopt;
  const std::int32_t number = free_.back();
  free_.pop_back();
  taken_[static_cast<std::size_t>(number)] = true;
  return number;
}

bool FreeList::try_take(std::int64_t count, std::vector<std::int32_t>& to) {
  if (count > free()) return false;
  to.reserve(to.size() + static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) to.push_back(*try_take());
  return true;
}

void FreeList::give_back(std::int32_t number) {
  const auto index = static_cast<std::size_t>(number);
  ensure(index < taken_.size() && taken_[index], "engine: a page or slot was given back twice");
  taken_[index] = false;
  free_.push_back(number);
}

void FreeList::give_back(std::span<const std::int32_t> numbers) {
  for (const std::int32_t number : numbers) give_back(number);
}

}  // namespace krasis
