// Memory runs out at any allocation while a checkpoint is opened and its cache built and read.
#include <algorithm>
#include <cstdlib>
#include <gtest/gtest.h>
#include <new>

#include "support/small_model.h"
#include "weights/expert_cache.h"

namespace {

// Allocations left before one fails; negative: none fails. The tests below use one thread.
thread_local long allocations_left = -1;

}  // namespace

void* operator new(std::size_t bytes) {
  if (allocations_left >= 0 && allocations_left-- == 0) throw std::bad_alloc();
  if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t /*bytes*/) noexcept {
  std::free(memory);
}

namespace krasis {
namespace {

TEST(AllocationFaults, EndWithAnExceptionAndLeaveNoHalfCache) {
  const test::SmallModel model(test::memory_folder());
  const std::filesystem::path folder = model.path() / ".krasis_cache";
  TileOptions options;
  options.type = {4, 128};
  options.threads = 1;
  int failures = 0;
  // Neighbouring allocations mostly belong together: growing steps meet every place often enough.
  for (long allowed = 0; allowed < 1'000'000; allowed += 1 + allowed / 64) {
    std::filesystem::remove_all(folder);
    try {
      allocations_left = allowed;
      const auto source = model.open();
      open_expert_cache(model.description(), *source, {model.path(), ""}, options);
      const bool all_were_allowed = allocations_left >= 0;
      allocations_left = -1;
      if (all_were_allowed) break;
    } catch (const std::bad_alloc&) {
      allocations_left = -1;
      ++failures;
    } catch (const Error& error) {
      allocations_left = -1;
      ++failures;
      EXPECT_NE(error.code(), ErrorCode::Internal) << error.what();
    }
    if (!std::filesystem::exists(folder)) continue;
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      EXPECT_EQ(entry.path().string().find(".tmp"), std::string::npos) << allowed;
  }
  EXPECT_GT(failures, 100);
}

}  // namespace
}  // namespace krasis
