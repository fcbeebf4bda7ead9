// The header of an expert cache file (docs/cache-format.md). Little-endian:
//   byte 0   "KRTILES\n"
//   8        format version, header bytes, bits, group, scale search, quantizer version, layers:
//   u32 36       zero: u32 40       hidden, file bytes: u64 56       key of the source: 32
//   hexadecimal digits 88       for each layer: number, experts, intermediate, offset in the file,
//   bytes of an expert,
//            checksum: u64
//   then     XXH3-64 of everything before it: u64
// A layer's checksum is the XXH3-64 of its experts' XXH3-64 values (u64, in order), so that experts
// can be written and checked in any order by many threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "quant/quantize.h"
#include "weights/cache_plan.h"

namespace krasis {

constexpr std::uint32_t kCacheFormatVersion = 1;
// Raised whenever quant/ makes other tiles of the same weights.
constexpr std::uint32_t kQuantizerVersion = 1;
// A reader needs no more of a file to parse the header.
constexpr std::size_t kMaxCacheHeaderBytes = std::size_t{1} << 20;

struct CacheHeader {
  struct Layer {
    std::uint64_t layer, experts, intermediate, offset, expert_bytes, checksum;
    friend bool operator==(const Layer&, const Layer&) = default;
  };

  TileType type;
  ScaleSearch search = ScaleSearch::LeastSquareError;
  std::uint32_t quantizer_version = kQuantizerVersion;
  std::uint64_t hidden = 0;
  std::uint64_t file_bytes = 0;
  std::string key;  // 32 characters
  std::vector<Layer> layers;

  friend bool operator==(const CacheHeader&, const CacheHeader&) = default;
};

// What a header says of the file as a whole; a caller decides what to do about it.
enum class CacheProblem : std::uint8_t {
  Foreign,  // does not start as a cache does: somebody else's file
  Version,  // another format version
  Damaged,  // cut off, or its checksum or its numbers are wrong
};

// The checksum of a layer, from its experts in any order. Different experts may be set by different
// threads at once.
class LayerChecksum {
 public:
  explicit LayerChecksum(const ExpertCachePlan::Layer& layer)
      : experts_(static_cast<std::size_t>(layer.experts)) {}
  void set(std::int64_t expert, std::span<const std::byte> bytes);
  std::uint64_t value() const;

 private:
  std::vector<std::uint64_t> experts_;
};

// Bytes of a header of `layers` layers, before alignment. Throws Error(Unsupported) if that is over
// kMaxCacheHeaderBytes.
std::size_t cache_header_bytes(std::size_t layers);

std::vector<std::byte> serialize(const CacheHeader& header);

struct ParsedCacheHeader {
  std::optional<CacheHeader> header;
  CacheProblem problem = CacheProblem::Damaged;  // if there is no header
  std::string reason;                            // the problem in words
};

// `bytes`: the file's first kMaxCacheHeaderBytes, or all of it. Never throws on any bytes; a header
// that is returned describes layers that lie in order, aligned, within file_bytes.
ParsedCacheHeader parse_cache_header(std::span<const std::byte> bytes);

// The header of a plan's file, checksums still 0. `source_fingerprint`:
// TensorSource::fingerprint().
CacheHeader cache_header_of(const ExpertCachePlan& plan, ScaleSearch search,
                            const std::string& source_fingerprint);

// Why a cache with header `found` is not the one wanted; empty if it is (checksums aside).
std::string cache_difference(const CacheHeader& found, const CacheHeader& wanted);

}  // namespace krasis
