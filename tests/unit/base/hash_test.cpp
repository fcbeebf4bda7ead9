#include "base/hash.h"

#include <gtest/gtest.h>

namespace krasis {
namespace {

TEST(Hash, IsXxh3) {
  // The value that xxhsum -H3 of Debian's xxhash package prints for no bytes.
  EXPECT_EQ(xxh3_64({}), 0x2d06800538d394c2U);
}

TEST(Hash, TellsTextsApartByTheirBorders) {
  const auto of = [](std::string_view a, std::string_view b) {
    Fingerprint print;
    print.add(a);
    print.add(b);
    return print.text();
  };
  EXPECT_EQ(of("ab", "c"), of("ab", "c"));
  EXPECT_NE(of("ab", "c"), of("a", "bc"));
  EXPECT_NE(of("ab", ""), of("", "ab"));
  EXPECT_EQ(of("a", "b").size(), 32U);
}

}  // namespace
}  // namespace krasis
