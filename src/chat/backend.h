// Who answers in a chat: a server over HTTP (chat/http_backend.h), or a model in this process.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/cancel.h"

namespace krasis {

struct ChatMessage {
  std::string role;  // "system", "user" or "assistant"
  std::string content;
};

// A piece of the answer; either part may be empty.
struct ChatDelta {
  std::string reasoning;
  std::string text;
};

struct ChatUsage {
  std::int64_t prompt_tokens = 0;
  std::int64_t completion_tokens = 0;
  double first_token_seconds = 0;  // from sending to the first piece
  double total_seconds = 0;
  bool cancelled = false;
  std::string finish_reason;  // "stop", "length", ...; empty if cancelled
};

class ChatBackend {
 public:
  ChatBackend() = default;
  ChatBackend(const ChatBackend&) = delete;
  ChatBackend& operator=(const ChatBackend&) = delete;
  virtual ~ChatBackend() = default;

  virtual std::string description() const = 0;  // "demo at http://127.0.0.1:8012"

  // Sends the conversation and calls on_delta with each piece as it comes. Returns soon after
  // `cancel` was raised, with what the answer took until then. Throws Error with the server's words
  // if it refuses.
  virtual ChatUsage send(const std::vector<ChatMessage>& messages,
                         const std::function<void(const ChatDelta&)>& on_delta,
                         const CancelFlag& cancel) = 0;
};

}  // namespace krasis
