#include "base/hash.h"

#include <array>
#include <fmt/format.h>
#include <new>
#include <xxhash.h>

namespace krasis {
namespace {

void* new_state() {
  XXH3_state_t* state = XXH3_createState();
  if (state == nullptr) throw std::bad_alloc();
  return state;
}

XXH3_state_t* state_of(void* state) {
  return static_cast<XXH3_state_t*>(state);
}

}  // namespace

std::uint64_t xxh3_64(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

void Fingerprint::Free::operator()(void* state) const {
  XXH3_freeState(state_of(state));
}

Fingerprint::Fingerprint() : state_(new_state()) {
  XXH3_128bits_reset(state_of(state_.get()));
}

void Fingerprint::add(std::string_view text) {
  add(std::uint64_t{text.size()});
  XXH3_128bits_update(state_of(state_.get()), text.data(), text.size());
}

void Fingerprint::add(std::uint64_t number) {
  std::array<unsigned char, 8> bytes{};  // little-endian whatever the processor is
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<unsigned char>(number >> (8 * i));
  XXH3_128bits_update(state_of(state_.get()), bytes.data(), bytes.size());
}

std::string Fingerprint::text() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_of(state_.get()));
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace krasis
