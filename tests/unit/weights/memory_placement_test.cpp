#include "weights/memory_placement.h"

#include <array>
#include <cstring>
#include <gtest/gtest.h>

#include "tensor/host_buffer.h"

namespace krasis {
namespace {

TEST(MemoryPlacement, SpreadsMemoryOrSaysWhyNot) {
  const std::vector<int> nodes = memory_nodes();
  ASSERT_FALSE(nodes.empty());
  const HostBuffer buffer(std::size_t{4} << 20);
  const MemoryPlacement placement = interleave_memory(buffer.data(), buffer.bytes(), nodes);
  EXPECT_EQ(placement.nodes, static_cast<int>(nodes.size()));
  EXPECT_NE(placement.interleaved, !placement.problem.empty());
  std::memset(buffer.data(), 1, buffer.bytes());
  EXPECT_LE(huge_page_bytes(buffer.data(), buffer.bytes()), std::size_t{64} << 20);
}

TEST(MemoryPlacement, ReportsANodeThatIsNotThere) {
  const HostBuffer buffer(4096);
  const std::array<int, 1> nodes{1000};
  const MemoryPlacement placement = interleave_memory(buffer.data(), buffer.bytes(), nodes);
  EXPECT_FALSE(placement.interleaved);
  EXPECT_NE(placement.problem, "");
}

}  // namespace
}  // namespace krasis
