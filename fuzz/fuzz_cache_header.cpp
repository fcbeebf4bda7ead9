// links: weights
// Any bytes as the header of an expert cache. A header that is accepted is written back as the same
// bytes. The checksum is made to fit first: otherwise no changed byte would reach what is behind
// it.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "base/hash.h"
#include "weights/cache_format.h"

namespace {

void parse(const std::vector<std::byte>& bytes) {
  const krasis::ParsedCacheHeader parsed = krasis::parse_cache_header(bytes);
  if (!parsed.header) {
    if (parsed.reason.empty()) std::abort();
    return;
  }
  std::uint64_t end = 0;
  for (const krasis::CacheHeader::Layer& layer : parsed.header->layers) {
    if (layer.offset < end) std::abort();
    end = layer.offset + layer.experts * layer.expert_bytes;
    if (end > parsed.header->file_bytes) std::abort();
  }
  const std::vector<std::byte> again = krasis::serialize(*parsed.header);
  if (krasis::parse_cache_header(again).header != parsed.header) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kChecksumBytes = 8;
  const auto input = std::as_bytes(std::span(data, size));
  std::vector<std::byte> bytes(input.begin(), input.end());
  parse(bytes);
  if (size < 16 + kChecksumBytes) return 0;
  const std::size_t checked = size - kChecksumBytes;
  for (std::size_t i = 0; i < 4; ++i) bytes[12 + i] = static_cast<std::byte>(size >> (8 * i));
  const std::uint64_t sum = krasis::xxh3_64(std::span(bytes).first(checked));
  for (std::size_t i = 0; i < kChecksumBytes; ++i)
    bytes[checked + i] = static_cast<std::byte>(sum >> (8 * i));
  parse(bytes);
  return 0;
}
