#include "cuda/pin_slices.h"

#include <algorithm>
#include <cstdint>

namespace krasis::cuda {
namespace {

constexpr std::uintptr_t kPage = 4096;
constexpr std::uintptr_t kHugePage = std::uintptr_t{2} << 20;  // what an arena aligns layers to

std::uintptr_t rounded_up(std::uintptr_t address, std::uintptr_t to) {
  return (address + to - 1) / to * to;
}

struct Slice {
  std::uintptr_t first, last;
};

}  // namespace

std::vector<std::span<const std::byte>> pin_slices(
    std::span<const std::span<const std::byte>> ranges, std::size_t most_bytes) {
  std::vector<Slice> pages;
  for (const std::span<const std::byte> range : ranges) {
    const auto first = reinterpret_cast<std::uintptr_t>(range.data());
    if (range.empty()) continue;
    pages.push_back({first / kPage * kPage, rounded_up(first + range.size(), kPage)});
  }
  std::ranges::sort(pages, {}, &Slice::first);
  std::vector<Slice> slices;
  for (const Slice& next : pages) {
    if (!slices.empty()) {
      Slice& slice = slices.back();
      const bool follows = next.first == rounded_up(slice.last, kHugePage);
      if (next.first < slice.last || (follows && next.last - slice.first <= most_bytes)) {
        slice.last = std::max(slice.last, next.last);
        continue;
      }
    }
    slices.push_back(next);
  }
  std::vector<std::span<const std::byte>> spans;
  for (const Slice& slice : slices)
    spans.emplace_back(reinterpret_cast<const std::byte*>(slice.first), slice.last - slice.first);
  return spans;
}

}  // namespace krasis::cuda
