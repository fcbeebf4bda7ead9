// Decides which tokens the next step computes and which pages and slot each sequence has. Knows
// nothing of threads or models; engine.h says by which rules.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "engine/engine.h"
#include "engine/pages.h"
#include "engine/sequence.h"
#include "engine/step_size.h"
#include "model/batch.h"

namespace krasis {

struct Step {
  Batch batch;
  std::vector<Sequence*> sequences;  // of batch.segments, one to one
  std::vector<Sequence*> sampled;    // of batch.logit_rows, one to one

  bool empty() const { return sequences.empty(); }
};

class Scheduler {
 public:
  // Throws Error(InvalidArgument) if the pages do not hold one sequence of the context length.
  explicit Scheduler(const EngineLimits& limits);

  void enqueue(std::unique_ptr<Sequence> sequence);

  // Starts what can start and lays out the next step; empty if nothing is under way. The reference
  // is good until the next plan(), a sequence in it until it is removed.
  const Step& plan();

  // The planned step was computed: its tokens are in the caches.
  void commit();

  // Of later steps; at most what the limits were at first. Who runs goes on, also if there are
  // more.
  void set_step_limits(const StepLimits& limits) { step_limits_ = limits; }

  // The planned step failed and may have left half of it in the caches: who runs begins again, in
  // the same order.
  void restart();

  bool prompt_is_half_read() const;

  // Takes a sequence out, with its pages and slot given back; nullptr if there is none.
  std::unique_ptr<Sequence> remove(std::uint64_t id);
  // Any one of them, nullptr if there are none.
  std::unique_ptr<Sequence> remove_any();

  std::int64_t running() const { return static_cast<std::int64_t>(running_.size()); }
  std::int64_t waiting() const { return static_cast<std::int64_t>(waiting_.size()); }
  const FreeList& pages() const { return pages_; }
  const FreeList& slots() const { return slots_; }

 private:
  std::int64_t pages_for(std::int64_t tokens) const;
  void admit();
  bool grow(Sequence& sequence);
  void preempt_youngest();
  void release(Sequence& sequence);
  void add_segment(Sequence& sequence, std::int64_t rows);

  EngineLimits limits_;
  StepLimits step_limits_;
  FreeList pages_;
  FreeList slots_;
  std::vector<std::unique_ptr<Sequence>> running_;  // oldest first
  std::deque<std::unique_ptr<Sequence>> waiting_;   // oldest first, all younger than running_
  Step step_;
};

}  // namespace krasis
