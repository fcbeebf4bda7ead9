// One answer under way: submitted to the engine, heard on the engine's thread, taken by the
// connection's.
#pragma once

#include <functional>
#include <memory>
#include <mutex>

#include "engine/engine.h"
#include "server/answer.h"

namespace krasis::server {

// Shared because the engine's sink may outlive the connection that has given it up.
class Generation : public std::enable_shared_from_this<Generation> {
 public:
  struct Usage {
    std::int64_t prompt_tokens = 0;
    std::int64_t completion_tokens = 0;
    double queue_ms = 0, prefill_ms = 0, decode_ms = 0;  // zero if a stop string ended it
  };

  // `engine` outlives this, the tokenizer until abandon().
  Generation(Engine& engine, const text::Tokenizer& tokenizer, const AnswerOptions& options)
      : engine_(engine), answer_(tokenizer, options) {}

  // Submits the request (throws what Engine::submit throws). `wake` is called on the engine's
  // thread when there is something to take after there was nothing: for every piece, or only at the
  // end.
  void start(Request request, bool wake_for_pieces, std::function<void()> wake);

  // What came since the last call, put together.
  AnswerPiece take();
  // As take() once it has finished; nothing before.
  AnswerPiece take_finished();

  Usage usage() const;

  // Cancels what is under way; wake and the tokenizer are not used any more once this returns.
  void abandon();

 private:
  void hear(const TokenEvent& event);
  void add(AnswerPiece&& piece);

  Engine& engine_;

  mutable std::mutex state_;  // guards what follows
  Answer answer_;
  AnswerPiece pending_;
  Usage usage_;
  std::function<void()> wake_;
  bool wake_for_pieces_ = false;
  bool abandoned_ = false;
  bool over_ = false;  // the engine has finished with it
  RequestId id_ = 0;   // 0: not known yet
};

}  // namespace krasis::server
