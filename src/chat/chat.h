// The chat client: a loop of question and answer in the terminal.
#pragma once

#include <optional>
#include <string>

#include "chat/backend.h"
#include "chat/http_backend.h"

namespace krasis {

struct ChatOptions {
  std::string system;  // the first message, if not empty
  bool greet = true;   // says who answers and which commands there are
};

// Talks until /exit or the end of input. Ctrl-C stops the answer and not the program. Errors of one
// answer are printed and the loop goes on. Returns the exit code: 1 if standard input is no
// terminal and an answer failed.
int run_chat(ChatBackend& backend, const ChatOptions& options);

struct ServerChatOptions {
  std::optional<ServerAddress> address;  // none: looks for servers, asks if there are several
  std::string api_key;
  ChatOptions chat;
};

// Finds the server, then run_chat. Throws Error(NotFound) if there is none.
int run_server_chat(const ServerChatOptions& options);

}  // namespace krasis
