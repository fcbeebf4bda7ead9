#include "server/generation.h"

#include <iterator>
#include <utility>

namespace krasis::server {

void Generation::start(Request request, bool wake_for_pieces, std::function<void()> wake) {
  {
    const std::lock_guard lock(state_);
    wake_ = std::move(wake);
    wake_for_pieces_ = wake_for_pieces;
    usage_.prompt_tokens = static_cast<std::int64_t>(request.prompt.size());
  }
  const RequestId id =
      engine_.submit(std::move(request),
                     [self = shared_from_this()](const TokenEvent& event) { self->hear(event); });
  const std::lock_guard lock(state_);
  id_ = id;
  // A stop string may have come before the id was known.
  if (answer_.finished() && !over_) engine_.cancel(id);
}

void Generation::hear(const TokenEvent& event) {
  const std::lock_guard lock(state_);
  over_ = event.finish != FinishReason::None;
  if (abandoned_) return;
  if (over_) {
    usage_.queue_ms = event.queue_ms;
    usage_.prefill_ms = event.prefill_ms;
    usage_.decode_ms = event.decode_ms;
  }
  if (answer_.finished()) return;
  const bool nothing_yet = pending_.empty();
  add(answer_.push(event));
  usage_.completion_tokens = answer_.tokens();
  if (answer_.finished() && !over_ && id_ != 0) engine_.cancel(id_);
  const bool first_piece = nothing_yet && !pending_.empty();
  if (answer_.finished() || (first_piece && wake_for_pieces_)) wake_();
}

void Generation::add(AnswerPiece&& piece) {
  pending_.text += piece.text;
  pending_.reasoning += piece.reasoning;
  std::move(piece.logprobs.begin(), piece.logprobs.end(), std::back_inserter(pending_.logprobs));
  pending_.finish = piece.finish;
  pending_.error = std::move(piece.error);
}

AnswerPiece Generation::take() {
  const std::lock_guard lock(state_);
  return std::exchange(pending_, {});
}

AnswerPiece Generation::take_finished() {
  const std::lock_guard lock(state_);
  return answer_.finished() ? std::exchange(pending_, {}) : AnswerPiece{};
}

Generation::Usage Generation::usage() const {
  const std::lock_guard lock(state_);
  return usage_;
}

void Generation::abandon() {
  const std::lock_guard lock(state_);
  if (abandoned_) return;
  abandoned_ = true;
  wake_ = nullptr;
  if (!over_ && id_ != 0) engine_.cancel(id_);
}

}  // namespace krasis::server
