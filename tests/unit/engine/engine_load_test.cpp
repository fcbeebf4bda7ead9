// Many requests from several threads, with cancels at random: the program the thread sanitizer
// sees.
#include <gtest/gtest.h>
#include <random>
#include <thread>

#include "fake_runner.h"

namespace krasis {
namespace {

using test::Listener;

TEST(EngineUnderLoad, LosesNothingInAThousandRequestsWithCancels) {
  constexpr int kThreads = 4, kRequests = 250;
  EngineLimits limits = test::small_limits();
  limits.pages = 20;
  Engine engine(test::fake_runner(limits), limits);
  std::atomic<int> ended{0}, cancelled{0};
  const auto client = [&](unsigned seed) {
    std::mt19937 random(seed);
    for (int i = 0; i < kRequests; ++i) {
      Listener listener;
      const std::vector<std::int32_t> prompt(1 + random() % 30, static_cast<std::int32_t>(seed));
      const RequestId id =
          engine.submit(test::greedy_request(prompt, 1 + random() % 20), listener.sink());
      if (random() % 5 == 0) {
        listener.wait_for_tokens(random() % 4);
        engine.cancel(id);
      }
      static_cast<void>(engine.status());
      listener.wait();
      EXPECT_FALSE(listener.heard_after_the_end());
      const FinishReason reason = listener.last().finish;
      EXPECT_TRUE(reason == FinishReason::Length || reason == FinishReason::Cancelled)
          << listener.last().error;
      ++(reason == FinishReason::Cancelled ? cancelled : ended);
    }
  };
  std::vector<std::thread> clients;
  for (unsigned seed = 1; seed <= kThreads; ++seed) clients.emplace_back(client, seed);
  for (auto& thread : clients) thread.join();
  EXPECT_EQ(ended + cancelled, kThreads * kRequests);
  EXPECT_GT(cancelled, 0);
  const EngineStatus status = engine.status();
  EXPECT_EQ(status.pages_free, 20);
  EXPECT_EQ(status.running, 0);
  EXPECT_EQ(status.waiting, 0);
}

}  // namespace
}  // namespace krasis
