#include "weights/cache_format.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "base/hash.h"

namespace krasis {
namespace {

constexpr std::string_view kMagic = "KRTILES\n";
constexpr std::size_t kKeyCharacters = 32;
constexpr std::size_t kFixedBytes = 88;
constexpr std::size_t kLayerBytes = 6 * sizeof(std::uint64_t);
constexpr std::size_t kChecksumBytes = sizeof(std::uint64_t);

class Writer {
 public:
  template <class T>
  void number(T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i)
      bytes_.push_back(static_cast<std::byte>(value >> (8 * i)));
  }
  void text(std::string_view text) {
    for (const char c : text) bytes_.push_back(static_cast<std::byte>(c));
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

// The caller has made sure that there are enough bytes.
class Parser {
 public:
  explicit Parser(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <class T>
  T number() {
    T value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i)
      value |= static_cast<T>(std::to_integer<T>(bytes_[i]) << (8 * i));
    bytes_ = bytes_.subspan(sizeof(T));
    return value;
  }
  std::string text(std::size_t characters) {
    std::string text(reinterpret_cast<const char*>(bytes_.data()), characters);
    bytes_ = bytes_.subspan(characters);
    return text;
  }

 private:
  std::span<const std::byte> bytes_;
};

ParsedCacheHeader refuse(CacheProblem problem, const std::string& reason) {
  return {.header = std::nullopt, .problem = problem, .reason = reason};
}

// What is impossible about the numbers; empty if nothing is.
std::string check_numbers(const CacheHeader& header) {
  constexpr std::uint64_t kMaxSize = std::uint64_t{1} << 24;
  constexpr std::uint64_t kMaxExperts = std::uint64_t{1} << 20;
  constexpr std::uint64_t kMaxLayerNumber = std::uint64_t{1} << 32;
  std::uint64_t end = cache_header_bytes(header.layers.size());
  std::uint64_t next_layer = 0;
  for (const CacheHeader::Layer& layer : header.layers) {
    const std::string name = "layer " + std::to_string(layer.layer);
    if (layer.layer < next_layer) return name + " is out of order";
    next_layer = layer.layer + 1;
    if (header.hidden > kMaxSize || layer.intermediate > kMaxSize || layer.experts > kMaxExperts ||
        layer.layer > kMaxLayerNumber)
      return name + " has impossible sizes";
    try {
      const ExpertLayout layout(header.type, static_cast<std::int64_t>(header.hidden),
                                static_cast<std::int64_t>(layer.intermediate));
      if (layout.expert_bytes != layer.expert_bytes) return name + " has experts of another size";
    } catch (const Error& error) {
      return name + ": " + error.what();
    }
    std::uint64_t bytes = 0;
    std::uint64_t layer_end = 0;
    if (layer.offset % ExpertLayout::kLayerAlignment != 0 || layer.offset < end ||
        __builtin_mul_overflow(layer.experts, layer.expert_bytes, &bytes) ||
        __builtin_add_overflow(layer.offset, bytes, &layer_end) || layer_end > header.file_bytes) {
      return name + " lies outside the file or in another layer";
    }
    end = layer_end;
  }
  return {};
}

std::string type_text(TileType type) {
  return "INT" + std::to_string(type.bits) + " in groups of " + std::to_string(type.group);
}

}  // namespace

void LayerChecksum::set(std::int64_t expert, std::span<const std::byte> bytes) {
  experts_[static_cast<std::size_t>(expert)] = xxh3_64(bytes);
}

std::uint64_t LayerChecksum::value() const {
  Writer writer;
  for (const std::uint64_t expert : experts_) writer.number(expert);
  return xxh3_64(writer.bytes());
}

std::size_t cache_header_bytes(std::size_t layers) {
  constexpr std::size_t kMaxLayers =
      (kMaxCacheHeaderBytes - kFixedBytes - kChecksumBytes) / kLayerBytes;
  if (layers > kMaxLayers) {
    throw Error(ErrorCode::Unsupported, "expert cache: " + std::to_string(layers) +
                                            " layers, at most " + std::to_string(kMaxLayers) +
                                            " fit in a file's header");
  }
  return kFixedBytes + layers * kLayerBytes + kChecksumBytes;
}

std::vector<std::byte> serialize(const CacheHeader& header) {
  ensure(header.key.size() == kKeyCharacters, "expert cache: key has not 32 characters");
  Writer writer;
  writer.text(kMagic);
  writer.number(kCacheFormatVersion);
  writer.number(static_cast<std::uint32_t>(cache_header_bytes(header.layers.size())));
  writer.number(static_cast<std::uint32_t>(header.type.bits));
  writer.number(static_cast<std::uint32_t>(header.type.group));
  writer.number(static_cast<std::uint32_t>(header.search));
  writer.number(header.quantizer_version);
  writer.number(static_cast<std::uint32_t>(header.layers.size()));
  writer.number(std::uint32_t{0});
  writer.number(header.hidden);
  writer.number(header.file_bytes);
  writer.text(header.key);
  for (const CacheHeader::Layer& layer : header.layers) {
    for (const std::uint64_t value : {layer.layer, layer.experts, layer.intermediate, layer.offset,
                                      layer.expert_bytes, layer.checksum})
      writer.number(value);
  }
  writer.number(xxh3_64(writer.bytes()));
  return writer.bytes();
}

ParsedCacheHeader parse_cache_header(std::span<const std::byte> bytes) {
  const std::string_view start(reinterpret_cast<const char*>(bytes.data()),
                               std::min(bytes.size(), kMagic.size()));
  if (!kMagic.starts_with(start)) return refuse(CacheProblem::Foreign, "is not an expert cache");
  if (bytes.size() < kFixedBytes + kChecksumBytes)
    return refuse(CacheProblem::Damaged, "ends after " + std::to_string(bytes.size()) + " bytes");

  Parser parser(bytes.subspan(kMagic.size()));
  const auto version = parser.number<std::uint32_t>();
  if (version != kCacheFormatVersion) {
    return refuse(CacheProblem::Version, "has format version " + std::to_string(version) +
                                             ", this program's is " +
                                             std::to_string(kCacheFormatVersion));
  }
  const auto header_bytes = parser.number<std::uint32_t>();
  if (header_bytes > bytes.size() || header_bytes < kFixedBytes + kChecksumBytes)
    return refuse(CacheProblem::Damaged, "ends within its header");
  const std::size_t checked = header_bytes - kChecksumBytes;
  Parser checksum(bytes.subspan(checked));
  if (checksum.number<std::uint64_t>() != xxh3_64(bytes.first(checked)))
    return refuse(CacheProblem::Damaged, "has a damaged header");

  CacheHeader header;
  header.type.bits = static_cast<int>(parser.number<std::uint32_t>());
  header.type.group = static_cast<int>(parser.number<std::uint32_t>());
  header.search = static_cast<ScaleSearch>(parser.number<std::uint32_t>());
  header.quantizer_version = parser.number<std::uint32_t>();
  const auto layers = parser.number<std::uint32_t>();
  parser.number<std::uint32_t>();
  header.hidden = parser.number<std::uint64_t>();
  header.file_bytes = parser.number<std::uint64_t>();
  header.key = parser.text(kKeyCharacters);
  if (kFixedBytes + layers * kLayerBytes + kChecksumBytes != header_bytes)
    return refuse(CacheProblem::Damaged, "has a header of another number of layers");
  for (std::uint32_t i = 0; i < layers; ++i) {
    CacheHeader::Layer& layer = header.layers.emplace_back();
    for (std::uint64_t* value : {&layer.layer, &layer.experts, &layer.intermediate, &layer.offset,
                                 &layer.expert_bytes, &layer.checksum})
      *value = parser.number<std::uint64_t>();
  }
  if (const std::string wrong = check_numbers(header); !wrong.empty())
    return refuse(CacheProblem::Damaged, wrong);
  return {.header = std::move(header), .problem = CacheProblem::Damaged, .reason = ""};
}

CacheHeader cache_header_of(const ExpertCachePlan& plan, ScaleSearch search,
                            const std::string& source_fingerprint) {
  Fingerprint key;
  key.add(source_fingerprint);
  CacheHeader header{.type = plan.type,
                     .search = search,
                     .quantizer_version = kQuantizerVersion,
                     .hidden = static_cast<std::uint64_t>(plan.hidden),
                     .file_bytes = plan.file_bytes,
                     .key = key.text(),
                     .layers = {}};
  for (const ExpertCachePlan::Layer& layer : plan.layers) {
    header.layers.push_back({.layer = static_cast<std::uint64_t>(layer.layer),
                             .experts = static_cast<std::uint64_t>(layer.experts),
                             .intermediate = static_cast<std::uint64_t>(layer.layout.intermediate),
                             .offset = plan.header_bytes + layer.offset,
                             .expert_bytes = layer.layout.expert_bytes,
                             .checksum = 0});
  }
  return header;
}

std::string cache_difference(const CacheHeader& found, const CacheHeader& wanted) {
  if (!(found.type == wanted.type))
    return "holds " + type_text(found.type) + ", wanted " + type_text(wanted.type);
  if (found.quantizer_version != wanted.quantizer_version || found.search != wanted.search)
    return "was made with another quantizer";
  if (found.key != wanted.key) return "was made from other weights or another config.json";
  const auto same = [](const CacheHeader::Layer& a, const CacheHeader::Layer& b) {
    return a.layer == b.layer && a.experts == b.experts && a.intermediate == b.intermediate &&
           a.offset == b.offset && a.expert_bytes == b.expert_bytes;
  };
  if (found.hidden != wanted.hidden || found.file_bytes != wanted.file_bytes ||
      !std::ranges::equal(found.layers, wanted.layers, same))
    return "holds experts of another shape";
  return {};
}

}  // namespace krasis
