// links: formats
// Any bytes as a safetensors file: refused with an Error, or described by entries that lie within
// it, in order.
#include <cstdint>
#include <cstdlib>

#include "formats/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::uint8_t> bytes(data, size);
  try {
    const auto header = krasis::parse_safetensors_header(std::as_bytes(bytes), "fuzz");
    std::size_t end = 0;
    for (const krasis::SafetensorsEntry& entry : header.entries) {
      if (entry.begin < end || entry.end < entry.begin || entry.end > size) std::abort();
      const auto count = static_cast<std::uint64_t>(entry.shape.count());
      if (entry.dtype && count * krasis::size_of(*entry.dtype) != entry.end - entry.begin)
        std::abort();
      end = entry.end;
    }
    if (!header.entries.empty() && end != size) std::abort();
  } catch (const krasis::Error& error) {
    if (error.code() != krasis::ErrorCode::Corrupt &&
        error.code() != krasis::ErrorCode::Unsupported)
      std::abort();
  }
  return 0;
}
