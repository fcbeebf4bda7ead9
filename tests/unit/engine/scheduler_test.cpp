#include "engine/scheduler.h"

#include <algorithm>
#include <gtest/gtest.h>

#include "base/error.h"

namespace krasis {
namespace {

EngineLimits tight_limits() {
  return {
      .context_length = 16, .max_sequences = 3, .prompt_chunk = 6, .page_tokens = 4, .pages = 5};
}

std::unique_ptr<Sequence> sequence(std::uint64_t id, std::size_t prompt) {
  Request request;
  request.prompt.assign(prompt, 1);
  return std::make_unique<Sequence>(id, std::move(request), EventSink(), 0);
}

std::vector<std::int64_t> rows_of(const Step& step) {
  std::vector<std::int64_t> rows;
  for (const Segment& segment : step.batch.segments) rows.push_back(segment.rows);
  return rows;
}

std::vector<std::uint64_t> ids_of(const std::vector<Sequence*>& sequences) {
  std::vector<std::uint64_t> ids;
  for (const Sequence* one : sequences) ids.push_back(one->id);
  return ids;
}

// One step; every sampled sequence generates token 2.
void run_step(Scheduler& scheduler) {
  const Step& step = scheduler.plan();
  scheduler.commit();
  for (Sequence* one : step.sampled) one->tokens.push_back(2);
}

TEST(FreeList, HandsOutEachNumberOnce) {
  FreeList list(3);
  std::vector<std::int32_t> taken;
  EXPECT_FALSE(list.try_take(4, taken));
  EXPECT_TRUE(taken.empty());
  EXPECT_TRUE(list.try_take(3, taken));
  std::ranges::sort(taken);
  EXPECT_EQ(taken, (std::vector<std::int32_t>{0, 1, 2}));
  EXPECT_FALSE(list.try_take());
  list.give_back(1);
  EXPECT_EQ(list.try_take(), 1);
}

TEST(FreeList, RefusesANumberThatWasNotTaken) {
  FreeList list(2);
  EXPECT_THROW(list.give_back(0), Error);
  EXPECT_THROW(list.give_back(2), Error);
}

TEST(Scheduler, RunsPromptsInChunksBesideTheNextTokens) {
  EngineLimits limits = tight_limits();
  limits.pages = 12;
  Scheduler scheduler(limits);
  scheduler.enqueue(sequence(1, 2));
  run_step(scheduler);
  scheduler.enqueue(sequence(2, 13));
  scheduler.enqueue(sequence(3, 3));
  EXPECT_EQ(rows_of(scheduler.plan()), (std::vector<std::int64_t>{1, 6}));
  EXPECT_EQ(ids_of(scheduler.plan().sampled), (std::vector<std::uint64_t>{1}));
  run_step(scheduler);
  EXPECT_EQ(rows_of(scheduler.plan()), (std::vector<std::int64_t>{1, 6}));
  run_step(scheduler);
  // The last token of a prompt is like a next token: the whole chunk is left for the third.
  EXPECT_EQ(rows_of(scheduler.plan()), (std::vector<std::int64_t>{1, 1, 3}));
  EXPECT_EQ(ids_of(scheduler.plan().sampled), (std::vector<std::uint64_t>{1, 2, 3}));
}

TEST(Scheduler, StartsRequestsInTheirOrder) {
  Scheduler scheduler(tight_limits());
  scheduler.enqueue(sequence(1, 12));  // 3 of 5 pages
  scheduler.enqueue(sequence(2, 12));  // does not fit beside it
  scheduler.enqueue(sequence(3, 1));   // would, but came later
  run_step(scheduler);
  EXPECT_EQ(scheduler.running(), 1);
  EXPECT_EQ(scheduler.waiting(), 2);
  EXPECT_NE(scheduler.remove(1), nullptr);
  EXPECT_EQ(ids_of(scheduler.plan().sequences), (std::vector<std::uint64_t>{2, 3}));
}

TEST(Scheduler, TheYoungestMakesRoomAndComesBack) {
  Scheduler scheduler(tight_limits());
  scheduler.enqueue(sequence(1, 4));
  scheduler.enqueue(sequence(2, 4));
  for (int i = 0; i < 5; ++i) run_step(scheduler);
  EXPECT_EQ(scheduler.running(), 2);
  EXPECT_EQ(scheduler.pages().free(), 1);  // 8 and 7 tokens; with 9 they need 3 pages each
  for (int i = 0; i < 2; ++i) run_step(scheduler);
  EXPECT_EQ(scheduler.running(), 1);
  EXPECT_EQ(scheduler.waiting(), 1);
  EXPECT_EQ(ids_of(scheduler.plan().sequences), (std::vector<std::uint64_t>{1}));
  scheduler.remove(1);
  const Step& again = scheduler.plan();
  ASSERT_EQ(ids_of(again.sequences), (std::vector<std::uint64_t>{2}));
  EXPECT_EQ(again.batch.segments[0].past, 0);  // computed again from its first token
}

TEST(Scheduler, WhoGaveWayComesBeforeWhoWaits) {
  EngineLimits limits = tight_limits();
  limits.max_sequences = 2;
  Scheduler scheduler(limits);
  for (std::uint64_t id = 1; id <= 3; ++id) scheduler.enqueue(sequence(id, 4));
  for (int i = 0; i < 7; ++i) run_step(scheduler);
  EXPECT_EQ(scheduler.waiting(), 2);
  scheduler.remove(1);
  EXPECT_EQ(ids_of(scheduler.plan().sequences).front(), 2U);
}

TEST(Scheduler, GivesEverythingBack) {
  Scheduler scheduler(tight_limits());
  for (std::uint64_t id = 1; id <= 6; ++id) scheduler.enqueue(sequence(id, 3));
  run_step(scheduler);
  EXPECT_EQ(scheduler.remove(99), nullptr);
  while (scheduler.remove_any()) {
  }
  EXPECT_EQ(scheduler.pages().free(), 5);
  EXPECT_EQ(scheduler.slots().free(), 3);
  EXPECT_TRUE(scheduler.plan().empty());
}

TEST(Scheduler, RefusesPagesThatDoNotHoldTheContext) {
  EngineLimits limits = tight_limits();
  limits.pages = 3;
  try {
    Scheduler{limits};
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "engine: 3 pages of 4 tokens do not hold a context of 16 tokens");
  }
}

}  // namespace
}  // namespace krasis
