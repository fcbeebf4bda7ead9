#include "base/thread_pool.h"

#include <atomic>
#include <chrono>
#include <gtest/gtest.h>
#include <numeric>
#include <thread>
#include <vector>

#include "base/error.h"

namespace krasis {
namespace {

// More threads than most test machines have processors: they then share them.
constexpr int kThreads = 5;

TEST(ThreadPool, RunsTheWorkOnceOnEachWorker) {
  ThreadPool pool({.threads = kThreads});
  ASSERT_EQ(pool.size(), kThreads);
  std::vector<int> calls(kThreads);
  for (int round = 0; round < 1000; ++round)
    pool.run([&](int worker) { ++calls[static_cast<std::size_t>(worker)]; });
  EXPECT_EQ(calls, std::vector<int>(kThreads, 1000));
}

TEST(ThreadPool, TheCallerIsWorkerZero) {
  ThreadPool pool({.threads = 3});
  std::thread::id zero;
  pool.run([&](int worker) {
    if (worker == 0) zero = std::this_thread::get_id();
  });
  EXPECT_EQ(zero, std::this_thread::get_id());
}

TEST(ThreadPool, WakesWorkersThatSleep) {
  ThreadPool pool({.threads = 3, .spin_us = 0});
  std::atomic<int> calls{0};
  for (int round = 0; round < 50; ++round) {
    std::this_thread::sleep_for(std::chrono::microseconds(200));
    pool.run([&](int /*worker*/) { ++calls; });
  }
  EXPECT_EQ(calls, 150);
}

TEST(ThreadPool, ABarrierSeparatesPhases) {
  ThreadPool pool({.threads = kThreads});
  std::vector<int> values(kThreads);  // not atomic: the barrier orders the accesses
  bool all_equal = true;
  pool.run([&](int worker) {
    for (int phase = 1; phase <= 200; ++phase) {
      values[static_cast<std::size_t>(worker)] = phase;
      pool.barrier();
      const int sum = std::accumulate(values.begin(), values.end(), 0);
      if (worker == 0) all_equal = all_equal && sum == phase * kThreads;
      pool.barrier();
    }
  });
  EXPECT_TRUE(all_equal);
}

TEST(ThreadPool, ParallelForCoversTheRangeOnce) {
  for (const int threads : {1, 2, kThreads}) {
    ThreadPool pool({.threads = threads});
    for (const std::int64_t count : {0, 1, 7, 8, 1000}) {
      std::vector<int> calls(static_cast<std::size_t>(count));
      pool.parallel_for(count, 8, [&](std::int64_t first, std::int64_t last) {
        for (; first < last; ++first) ++calls[static_cast<std::size_t>(first)];
      });
      EXPECT_EQ(calls, std::vector<int>(static_cast<std::size_t>(count), 1));
    }
  }
}

TEST(ThreadPool, OneThreadNeedsNoOther) {
  ThreadPool pool({.threads = 1});
  int calls = 0;
  pool.run([&](int worker) {
    pool.barrier();
    calls += 1 + worker;
  });
  EXPECT_EQ(calls, 1);
}

TEST(ThreadPool, ZeroThreadsMeansThoseThisProcessMayUse) {
  EXPECT_GE(ThreadPool({.threads = 0}).size(), 1);
}

TEST(ThreadPool, RejectsANumberOfThreadsThatMakesNoSense) {
  try {
    ThreadPool pool({.threads = -1});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "thread pool: -1 threads: use 0 to 1024");
  }
}

}  // namespace
}  // namespace krasis
