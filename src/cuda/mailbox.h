// How a device asks the processor for experts in the middle of a step, and gets their sums back,
// without the driver: memory of the program's own that both read and write while the step runs.
//
// The device divides an op's experts (ask), writes what the processor needs and then a number that
// only grows, so that a captured step can be repeated as it is; goes on with its own part; and
// waits for the number to come back (add_answer). Whoever queued or launched that answers in the
// meantime. One question is under way at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>

#include "cuda/launch.h"
#include "cuda/runtime.h"
#include "ops/experts.h"
#include "ops/memory.h"
#include "residency/learned_rates.h"

namespace krasis::cuda {

// Of one question.
constexpr int kMailboxTokens = 64;
constexpr int kMailboxPairs = 1024;

// What a question is about, and where the device's part of it is left. Pointers are the device's.
struct ExpertQuestion {
  Rows x;                          // [tokens, hidden], at most kMailboxTokens
  const int* ids = nullptr;        // [tokens, top_k], at most kMailboxPairs; -1: none
  const float* weights = nullptr;  // [tokens, top_k]
  int top_k = 0;
  int experts = 0;

  const std::byte* const* resident =
      nullptr;  // [experts] where each lies in device memory, or null

  // Where the device may read experts that are not resident: of these the first among the ids, as
  // many as experts_by_link() says. nullptr: it may not.
  const std::byte* base = nullptr;  // expert e is at base + e * expert_bytes
  std::size_t expert_bytes = 0;
  bool begins_step = false;  // what the device did before is not of the same step

  const std::byte** table = nullptr;  // out: [experts], of the device's part
  int* device_ids = nullptr;          // out: [tokens, top_k], -1: not the device's part
  unsigned* counts = nullptr;         // [experts], grows by the pairs of each expert
};

// What the device has taken so far, over all questions that the processor had a part in.
struct MailboxTimes {
  std::uint64_t questions = 0;
  std::uint64_t between_ns = 0;      // from an answer to the next question of the step
  std::uint64_t asking_ns = 0;       // until the processor can see the question
  std::uint64_t waiting_ns = 0;      // until the device has seen the answer
  std::uint64_t adding_ns = 0;       // until it is added
  std::uint64_t by_link = 0;         // experts read over the link
  std::uint64_t link_ns = 0;         // until the device's own part with such experts was done
  std::uint64_t link_questions = 0;  // that had such experts
};

class Mailbox {
 public:
  // For experts of `hidden` at the most. The device waits for an answer no longer than `patience`.
  Mailbox(Memory& memory, std::int64_t hidden, std::chrono::milliseconds patience);

  // Queues the division; the processor's part is in the mailbox when its number is.
  void ask(const ExpertQuestion& question, const Launch& launch);
  // Queues the wait, and out [tokens, hidden] += the answer. After ask(), on the same stream, with
  // nothing between them that waits for the processor.
  void add_answer(MutableRows out, const Launch& launch);

  // --- The processor's side, for every ask() in its order.

  // Waits for the next question; false if the processor has no part in it. Throws what the work on
  // the stream has failed with.
  bool next_question(const Stream& stream);
  // The question's contents [tokens * hidden], [tokens * top_k] (-1: not the processor's part) and
  // where the answer goes [tokens * hidden].
  const float* x() const { return x_.as<float>(); }
  const std::int32_t* ids() const { return ids_.as<std::int32_t>(); }
  const float* weights() const { return weights_.as<float>(); }
  float* sums() const { return sums_.as<float>(); }
  void answer();

  // By which questions divide experts from the next step on; queued.
  void set_costs(const StepCosts& costs, const Stream& stream);
  // As of some question of late.
  MailboxTimes times() const;

  // Lets the device go on without answers, waits for the end of what was queued, and begins anew.
  void abandon(const Stream& stream) noexcept;

  // True if the device has waited in vain, and waits for nothing since; until abandon().
  bool timed_out() const;
  std::chrono::nanoseconds patience() const { return patience_; }

  // Written by one side, read by the other, each in a cache line of its own.
  struct Words {
    alignas(64) std::uint64_t question;  // its number << 16 | the processor's pairs
    alignas(64) std::uint64_t answer;    // the number of the last question that was answered
    alignas(64) std::uint64_t timeout;   // the number of a question whose answer did not come
    alignas(64) MailboxTimes times;
  };
  // The device's own.
  struct State {
    unsigned long long number;
    unsigned processor_pairs;
    unsigned timeout;  // waits for nothing any more
    unsigned by_link;  // experts
    unsigned long long asked_ns, added_ns;
    StepCosts costs;
    MailboxTimes times;
  };

 private:
  Words& words() const { return *words_.as<Words>(); }

  PinnedBuffer words_, x_, ids_, weights_, sums_;
  Buffer state_;
  std::chrono::nanoseconds patience_;
  std::uint64_t last_ = 0;  // question that next_question() was about
};

}  // namespace krasis::cuda
