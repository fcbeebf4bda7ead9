#include "tune/expert_rates.h"

#include <gtest/gtest.h>

#include "base/thread_pool.h"
#include "cpu/cpu_ops.h"
#include "quant/expert_tiles.h"
#include "tensor/host_buffer.h"

namespace krasis {
namespace {

TEST(ExpertRates, AreThoseOfExpertsOfAnyNumberAndSize) {
  ThreadPool pool({.threads = 2, .pin = false});
  const auto processor = cpu::make_cpu_ops(pool);
  for (const std::int64_t experts : {1, 40}) {
    const ExpertLayout layout({4, 128}, 256, 96);
    const HostBuffer memory(layout.layer_bytes(experts));
    const ExpertMatrices layer = ExpertMatrices::of(layout, experts, memory.data());
    const ExpertRates rates = measure_expert_rates(*processor, layer);
    // Between a hundred times slower and faster than any machine.
    EXPECT_GT(rates.bytes, 1e6);
    EXPECT_LT(rates.bytes, 1e14);
    EXPECT_GT(rates.token_seconds, 1e-10);
    EXPECT_LT(rates.token_seconds, 1e-2);
  }
}

}  // namespace
}  // namespace krasis
