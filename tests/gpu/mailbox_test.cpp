// The mailbox without a model: who computes which pairs, and what happens if nobody answers.
#include "cuda/mailbox.h"

#include <chrono>
#include <gtest/gtest.h>

#include "base/error.h"
#include "cuda/device_memory.h"
#include "gpu/device.h"

namespace krasis::cuda {
namespace {

constexpr int kExperts = 12, kTopK = 4, kHidden = 40;

class MailboxTest : public testing::Test {
 protected:
  MailboxTest()
      : memory_(0, stream_, {}),
        scratch_memory_(memory_.allocate(1 << 20)),
        scratch_(scratch_memory_.data(), scratch_memory_.bytes()),
        mailbox_(memory_, kHidden, std::chrono::milliseconds(50)) {
    int major = 0, minor = 0;
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "asking");
    check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0), "asking");
    device_.capability = major * 10 + minor;
  }

  template <class T>
  const T* upload(const std::vector<T>& values) {
    buffers_.push_back(memory_.allocate(values.size() * sizeof(T)));
    memory_.upload(buffers_.back().data(), values.data(), values.size() * sizeof(T));
    return buffers_.back().as<T>();
  }
  template <class T>
  std::vector<T> download(const T* from, std::size_t count) {
    std::vector<T> values(count);
    memory_.download(values.data(), reinterpret_cast<const std::byte*>(from), count * sizeof(T));
    return values;
  }

  // ids: [tokens, kTopK]; experts 0 and 5 are resident.
  // link_share: of the experts that are not resident.
  void ask(const std::vector<int>& ids, double link_share) {
    prepare(ids, link_share);
    mailbox_.ask(question_, launch());
  }
  // Allocating memory waits for the device, and it would for the processor.
  void prepare(const std::vector<int>& ids, double link_share) {
    const auto tokens = static_cast<std::int64_t>(ids.size()) / kTopK;
    std::vector<float> x(static_cast<std::size_t>(tokens * kHidden));
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
    std::vector<float> weights(ids.size());
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = 1 + static_cast<float>(i);
    std::vector<const std::byte*> resident(kExperts);
    resident[0] = at(100);
    resident[5] = at(105);
    table_ = memory_.allocate(kExperts * sizeof(const std::byte*));
    device_ids_ = memory_.allocate(ids.size() * sizeof(int));
    counts_ = memory_.allocate(kExperts * sizeof(unsigned));
    question_ = {.x = Rows(upload(x), tokens, kHidden),
                 .ids = upload(ids),
                 .weights = upload(weights),
                 .top_k = kTopK,
                 .experts = kExperts,
                 .resident = upload(resident),
                 .base = at(1000),
                 .expert_bytes = 10,
                 .table = table_.as<const std::byte*>(),
                 .device_ids = device_ids_.as<int>(),
                 .counts = counts_.as<unsigned>()};
    mailbox_.set_costs({.link = link_share > 0 ? (1 - link_share) / link_share : 0, .processor = 1},
                       stream_);
  }
  std::vector<int> device_ids(std::size_t count) { return download(device_ids_.as<int>(), count); }
  static const std::byte* at(std::uintptr_t address) {
    return reinterpret_cast<const std::byte*>(address);
  }
  Launch launch() { return {stream_.get(), scratch_, device_, tables_}; }

  Stream stream_;
  DeviceMemory memory_;
  Buffer scratch_memory_;
  Scratch scratch_;
  DeviceProperties device_;
  StepTables tables_;
  std::vector<Buffer> buffers_;
  Buffer table_, device_ids_, counts_;
  ExpertQuestion question_;
  Mailbox mailbox_;
};

TEST_F(MailboxTest, GivesTheProcessorWhatIsNotResident) {
  const std::vector<int> ids = {7, 0, -1, 3, 5, 7, 2, 0};
  ask(ids, 0);
  ASSERT_TRUE(mailbox_.next_question(stream_));
  EXPECT_EQ(device_ids(8), (std::vector<int>{-1, 0, -1, -1, 5, -1, -1, 0}));
  EXPECT_EQ(std::vector<int>(mailbox_.ids(), mailbox_.ids() + 8),
            (std::vector<int>{7, -1, -1, 3, -1, 7, 2, -1}));
  const auto table = download(table_.as<const std::byte*>(), kExperts);
  EXPECT_EQ(table[0], at(100));
  EXPECT_EQ(table[5], at(105));
  EXPECT_EQ(mailbox_.weights()[3], 4);
  EXPECT_EQ(mailbox_.x()[kHidden + 1], kHidden + 1);
  EXPECT_EQ(download(counts_.as<unsigned>(), kExperts),
            (std::vector<unsigned>{2, 0, 1, 1, 0, 1, 0, 2, 0, 0, 0, 0}));
}

TEST_F(MailboxTest, GivesTheLinkItsShareOfTheExpertsThatAreNotResident) {
  const std::vector<int> ids = {7, 0, -1, 3, 5, 7, 2, 3, 9, 2, 7, 0};  // 7, 3, 2, 9 are missing
  ask(ids, 0.5);
  ASSERT_TRUE(mailbox_.next_question(stream_));
  EXPECT_EQ(device_ids(12), (std::vector<int>{7, 0, -1, 3, 5, 7, -1, 3, -1, -1, 7, 0}));
  EXPECT_EQ(std::vector<int>(mailbox_.ids(), mailbox_.ids() + 12),
            (std::vector<int>{-1, -1, -1, -1, -1, -1, 2, -1, 9, 2, -1, -1}));
  const auto table = download(table_.as<const std::byte*>(), kExperts);
  EXPECT_EQ(table[7], at(1070));
  EXPECT_EQ(table[3], at(1030));
  EXPECT_EQ(table[0], at(100));
}

TEST_F(MailboxTest, AQuestionWithNothingForTheProcessorNeedsNoAnswer) {
  const Buffer out = memory_.allocate(kHidden * sizeof(float));
  const MutableRows rows(out.as<float>(), 1, kHidden);
  for (int i = 0; i < 3; ++i) {
    ask({7, 0, -1, 3}, 0.99);
    mailbox_.add_answer(rows, launch());
  }
  prepare({0, 7, 5, 1}, 0.5);
  mailbox_.ask(question_, launch());
  mailbox_.add_answer(rows, launch());
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(mailbox_.next_question(stream_));
  ASSERT_TRUE(mailbox_.next_question(stream_));
  EXPECT_EQ(mailbox_.ids()[3], 1);
  for (int i = 0; i < kHidden; ++i) mailbox_.sums()[i] = static_cast<float>(i);
  mailbox_.answer();
  const auto sums = download(out.as<float>(), kHidden);
  for (int i = 0; i < kHidden; ++i) EXPECT_EQ(sums[static_cast<std::size_t>(i)], i);
  EXPECT_FALSE(mailbox_.timed_out());
}

TEST_F(MailboxTest, TheDeviceDoesNotWaitForEver) {
  const Buffer out = memory_.allocate(kHidden * sizeof(float));
  const MutableRows rows(out.as<float>(), 1, kHidden);
  prepare({7, 0, 1, 3}, 0);
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 40; ++i) {  // the first waits, the others see that it has
    mailbox_.ask(question_, launch());
    mailbox_.add_answer(rows, launch());
  }
  stream_.synchronize();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
  EXPECT_TRUE(mailbox_.timed_out());
  EXPECT_EQ(download(out.as<float>(), 1)[0], 0);

  mailbox_.abandon(stream_);
  EXPECT_FALSE(mailbox_.timed_out());
  ask({7, 0, 1, 3}, 0);
  mailbox_.add_answer(rows, launch());
  ASSERT_TRUE(mailbox_.next_question(stream_));
  mailbox_.sums()[0] = 4;
  mailbox_.answer();
  EXPECT_EQ(download(out.as<float>(), 1)[0], 4);
}

TEST_F(MailboxTest, AbandonedQuestionsAreNotAnsweredLater) {
  const Buffer out = memory_.allocate(kHidden * sizeof(float));
  const MutableRows rows(out.as<float>(), 1, kHidden);
  prepare({7, 0, 1, 3}, 0);
  for (int i = 0; i < 5; ++i) {
    mailbox_.ask(question_, launch());
    mailbox_.add_answer(rows, launch());
  }
  ASSERT_TRUE(mailbox_.next_question(stream_));
  mailbox_.abandon(stream_);
  EXPECT_FALSE(mailbox_.timed_out());
  ask({7, 0, 1, 2}, 0);
  ASSERT_TRUE(mailbox_.next_question(stream_));
  EXPECT_EQ(mailbox_.ids()[3], 2);
}

TEST_F(MailboxTest, AStepThatAsksNothingIsAnErrorNotAnEndlessWait) {
  EXPECT_THROW(mailbox_.next_question(stream_), Error);
}

}  // namespace
}  // namespace krasis::cuda
