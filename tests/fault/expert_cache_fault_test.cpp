// Whatever call fails, and wherever the process is killed while a cache is built or read: the next
// start has the right experts, and nothing is left over.
#include <algorithm>
#include <csignal>
#include <cstring>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/faulty_file_system.h"
#include "support/small_model.h"
#include "weights/expert_cache.h"

namespace krasis {
namespace {

using test::FaultyFileSystem;
using test::SmallModel;
using Fault = FaultyFileSystem::Fault;

constexpr int kMaxCalls = 1000;  // a build and a read of the small model take about thirty

class CacheFaults : public testing::Test {
 protected:
  CacheFaults() : model_(test::memory_folder()), source_(model_.open()) {
    options_.type = {4, 128};
    options_.threads = 1;
    expected_ = make_tile_experts(model_.description(), *source_, options_);
  }

  OpenedExperts open(FileSystem& files) {
    options_.files = &files;
    return open_expert_cache(model_.description(), *source_, {model_.path(), ""}, options_);
  }

  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder()))
      if (entry.path().extension() != ".lock") names.push_back(entry.path().filename().string());
    return names;
  }
  std::filesystem::path folder() const { return model_.path() / ".krasis_cache"; }

  bool is_right(const OpenedExperts& opened) const {
    const auto actual = opened.experts->memory();
    const auto expected = expected_->memory();
    return actual.size() == expected.size() &&
           std::memcmp(actual.data(), expected.data(), actual.size()) == 0;
  }

  // With the fault at every call in turn, on an empty folder, until none is reached. Returns how
  // many attempts ended with an Error.
  int fail_at_every_call(Fault fault) {
    int errors = 0;
    for (int call = 0; call < kMaxCalls; ++call) {
      std::filesystem::remove_all(folder());
      FaultyFileSystem faulty(fault, call);
      try {
        EXPECT_TRUE(is_right(open(faulty))) << call;
      } catch (const Error& error) {
        ++errors;
        EXPECT_NE(error.code(), ErrorCode::Internal) << error.what();
        for (const std::string& name : files())
          EXPECT_EQ(name, "experts_int4_g128.krt") << call << ": " << error.what();
      }
      if (!faulty.happened()) return errors;
      EXPECT_TRUE(is_right(open(FileSystem::real()))) << call;
      EXPECT_EQ(files(), std::vector<std::string>{"experts_int4_g128.krt"}) << call;
    }
    ADD_FAILURE() << "the faults never end";
    return errors;
  }

  SmallModel model_;
  std::unique_ptr<TensorSource> source_;
  TileOptions options_;
  std::unique_ptr<TileArena> expected_;
};

TEST_F(CacheFaults, AnErrorAtAnyCallEndsWithAnErrorOrTheRightExperts) {
  EXPECT_GT(fail_at_every_call(Fault::IoError), 10);
}

TEST_F(CacheFaults, ADiskThatFillsUpLeavesNothing) {
  EXPECT_GT(fail_at_every_call(Fault::DiskFull), 8);
}

TEST_F(CacheFaults, AFileThatEndsEarlyIsNoticed) {
  EXPECT_GT(fail_at_every_call(Fault::EndOfFile), 5);
}

TEST_F(CacheFaults, ShortAndInterruptedCallsAreContinued) {
  EXPECT_EQ(fail_at_every_call(Fault::Short), 0);
  EXPECT_EQ(fail_at_every_call(Fault::Interrupted), 0);
}

TEST_F(CacheFaults, AProcessKilledBetweenAnyTwoWritesIsNotMistakenForOneThatEnded) {
  int killed = 0;
  for (int call = 0; call < kMaxCalls; ++call) {
    std::filesystem::remove_all(folder());
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      FaultyFileSystem faulty(Fault::Killed, call);
      ::_exit(is_right(open(faulty)) ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    const OpenedExperts opened = open(FileSystem::real());
    EXPECT_TRUE(is_right(opened)) << call;
    EXPECT_EQ(files(), std::vector<std::string>{"experts_int4_g128.krt"}) << call;
    if (WEXITSTATUS(status) == 0) break;
    ASSERT_EQ(WEXITSTATUS(status), FaultyFileSystem::kKilledStatus) << call;
    ++killed;
  }
  EXPECT_GT(killed, 15);
  EXPECT_LT(killed, kMaxCalls);
}

TEST_F(CacheFaults, TheLockOfAKilledProcessIsFree) {
  std::array<int, 2> building{};
  ASSERT_EQ(::pipe(building.data()), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    options_.progress.advance = [&](std::uint64_t, std::uint64_t) {
      if (::write(building[1], "x", 1) == 1) ::pause();
    };
    open(FileSystem::real());
    ::_exit(1);
  }
  char byte = 0;
  ASSERT_EQ(::read(building[0], &byte, 1), 1);
  int messages = 0;
  options_.progress.message = [&](const std::string&) {
    ++messages;
    ::kill(child, SIGKILL);
  };
  const OpenedExperts opened = open(FileSystem::real());
  EXPECT_TRUE(opened.cache.built);
  EXPECT_TRUE(is_right(opened));
  EXPECT_EQ(messages, 1);
  EXPECT_EQ(files(), std::vector<std::string>{"experts_int4_g128.krt"});
  ::waitpid(child, nullptr, 0);
  ::close(building[0]);
  ::close(building[1]);
}

}  // namespace
}  // namespace krasis
