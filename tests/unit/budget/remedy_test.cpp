#include "budget/remedy.h"

#include <gtest/gtest.h>

#include "unit/budget/specs.h"

namespace krasis {
namespace {

constexpr std::uint64_t kGB = 1'000'000'000;

std::string refusal(int bits, std::uint64_t free_bytes) {
  const ModelSpec spec = test::moe_235b();
  PlanRequest request;
  request.weights.experts = TileType{.bits = bits, .group = 128};
  if (bits == 16) request.weights.experts.reset();
  request.page_bytes = std::uint64_t{1} << 30;  // the cache alone is more than there is
  return too_much_ram(spec, request.weights, make_plan(spec, request), free_bytes);
}

TEST(TooMuchRam, CountsMoreThanTheExperts) {
  // 94 * 128 experts of 9.7 MB, 14.7 GB of dense weights in 16 bits, an INT8 head.
  EXPECT_EQ(refusal(4, 118 * kGB),
            "memory: the model needs 132.5 GB of RAM, 117.1 GB of it for experts, and 118.0 GB are "
            "free; use a machine with more memory, close other programs, or insist with "
            "--force-load");
  EXPECT_NE(refusal(4, 139 * kGB), "") << "the rest of the system needs some";
  EXPECT_EQ(refusal(4, 140 * kGB), "");
  EXPECT_EQ(refusal(16, 20 * kGB), "") << "experts that are mapped";
}

TEST(TooMuchRam, AdvisesFourBitsOnlyWhereThatHelps) {
  const std::string text = refusal(8, 140 * kGB);
  EXPECT_NE(text.find("; use --cpu-expert-bits 4, which needs 132.5 GB, close other programs, or"),
            std::string::npos)
      << text;
  EXPECT_EQ(refusal(8, 100 * kGB).find("--cpu-expert-bits"), std::string::npos);
  EXPECT_EQ(refusal(4, 100 * kGB).find("--cpu-expert-bits"), std::string::npos);
}

}  // namespace
}  // namespace krasis
