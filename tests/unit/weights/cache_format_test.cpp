#include "weights/cache_format.h"

#include <gtest/gtest.h>

#include "base/hash.h"
#include "support/small_model.h"

namespace krasis {
namespace {

CacheHeader header() {
  const test::SmallModel model;
  CacheHeader result = cache_header_of(plan_expert_cache(model.description().spec, {4, 128}),
                                       ScaleSearch::LeastSquareError, "fingerprint");
  result.layers[0].checksum = 0x0123456789abcdefU;
  return result;
}

// As an attacker or a bug would: the numbers changed, the checksum made to fit.
ParsedCacheHeader parse_with(std::size_t at, std::uint8_t value) {
  std::vector<std::byte> bytes = serialize(header());
  bytes[at] = std::byte{value};
  const std::uint64_t sum = xxh3_64(std::span(bytes).first(bytes.size() - 8));
  for (std::size_t i = 0; i < 8; ++i)
    bytes[bytes.size() - 8 + i] = static_cast<std::byte>(sum >> (8 * i));
  return parse_cache_header(bytes);
}

TEST(CacheFormat, ReadsWhatItWrote) {
  const std::vector<std::byte> bytes = serialize(header());
  EXPECT_EQ(bytes.size(), cache_header_bytes(2));
  const ParsedCacheHeader parsed = parse_cache_header(bytes);
  ASSERT_TRUE(parsed.header) << parsed.reason;
  EXPECT_EQ(*parsed.header, header());
  EXPECT_EQ(cache_difference(*parsed.header, header()), "");
}

TEST(CacheFormat, RefusesEveryTruncation) {
  const std::vector<std::byte> bytes = serialize(header());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const ParsedCacheHeader parsed = parse_cache_header(std::span(bytes).first(size));
    EXPECT_FALSE(parsed.header) << size;
    EXPECT_EQ(parsed.problem, CacheProblem::Damaged) << size;
  }
}

TEST(CacheFormat, RefusesEveryFlippedBit) {
  const std::vector<std::byte> bytes = serialize(header());
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::vector<std::byte> copy = bytes;
    copy[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    EXPECT_FALSE(parse_cache_header(copy).header) << bit;
  }
}

TEST(CacheFormat, TellsForeignFilesFromOtherVersionsAndDamage) {
  EXPECT_EQ(parse_with(0, 'X').problem, CacheProblem::Foreign);
  EXPECT_EQ(parse_with(0, 'X').reason, "is not an expert cache");
  EXPECT_EQ(parse_with(8, 9).problem, CacheProblem::Version);
  EXPECT_EQ(parse_with(8, 9).reason, "has format version 9, this program's is 1");
  EXPECT_EQ(parse_with(16, 5).problem, CacheProblem::Damaged);
  EXPECT_NE(parse_with(16, 5).reason.find("there are 4 or 8 bits"), std::string::npos);
}

TEST(CacheFormat, RefusesLayersThatCannotBe) {
  constexpr std::size_t kFirstLayer = 88;
  EXPECT_EQ(parse_with(kFirstLayer, 7).reason, "layer 2 is out of order");
  EXPECT_EQ(parse_with(kFirstLayer + 7, 1).reason, "layer 72057594037927937 has impossible sizes");
  EXPECT_EQ(parse_with(kFirstLayer + 8 + 2, 1).reason,
            "layer 1 lies outside the file or in another layer");
  EXPECT_EQ(parse_with(kFirstLayer + 16, 200).reason, "layer 1 has experts of another size");
  EXPECT_EQ(parse_with(kFirstLayer + 24, 1).reason,
            "layer 1 lies outside the file or in another layer");
  EXPECT_EQ(parse_with(32, 1).reason, "has a header of another number of layers");
}

TEST(CacheFormat, SaysWhatDiffers) {
  CacheHeader other = header();
  other.type.bits = 8;
  EXPECT_EQ(cache_difference(other, header()),
            "holds INT8 in groups of 128, wanted INT4 in groups of 128");
  other = header();
  other.key[3] = 'x';
  EXPECT_EQ(cache_difference(other, header()),
            "was made from other weights or another config.json");
  other = header();
  other.quantizer_version = 0;
  EXPECT_EQ(cache_difference(other, header()), "was made with another quantizer");
  other = header();
  other.layers[1].experts = 2;
  EXPECT_EQ(cache_difference(other, header()), "holds experts of another shape");
}

}  // namespace
}  // namespace krasis
