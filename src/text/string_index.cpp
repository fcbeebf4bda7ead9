#include "text/string_index.h"

#include <algorithm>
#include <bit>
#include <xxhash.h>

namespace krasis::text {

void StringIndex::reserve(std::size_t count, std::size_t bytes) {
  slots_.assign(std::bit_ceil(std::max<std::size_t>(16, count * 2)), Slot{});
  text_.clear();
  text_.reserve(bytes);
  count_ = 0;
}

// Where `text` is, or the empty slot where it belongs.
std::size_t StringIndex::slot_of(std::string_view text, std::uint32_t hash) const {
  std::size_t slot = hash & (slots_.size() - 1);
  while (slots_[slot].id >= 0) {
    const Slot& s = slots_[slot];
    if (s.hash == hash && std::string_view(text_).substr(s.offset, s.length) == text) break;
    slot = (slot + 1) & (slots_.size() - 1);
  }
  return slot;
}

void StringIndex::insert(std::string_view text, std::int32_t id) {
  const auto hash = static_cast<std::uint32_t>(XXH3_64bits(text.data(), text.size()));
  Slot& slot = slots_[slot_of(text, hash)];
  if (slot.id < 0) {
    slot = {hash, static_cast<std::uint32_t>(text.size()), text_.size(), id};
    text_.append(text);
    ++count_;
  }
  slot.id = id;
}

std::optional<std::int32_t> StringIndex::find(std::string_view text) const {
  if (slots_.empty()) return std::nullopt;
  const auto hash = static_cast<std::uint32_t>(XXH3_64bits(text.data(), text.size()));
  const Slot& slot = slots_[slot_of(text, hash)];
  if (slot.id < 0) return std::nullopt;
  return slot.id;
}

}  // namespace krasis::text
