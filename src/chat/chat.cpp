#include "chat/chat.h"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <fmt/format.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "base/error.h"
#include "chat/line_reader.h"
#include "chat/printer.h"
#include "chat/server_finder.h"

namespace krasis {
namespace {

constexpr const char* kHelp =
    "/new          forget the conversation\n"
    "/system TEXT  start anew with TEXT as the system message; without TEXT: with none\n"
    "/help         this list\n"
    "/exit         leave (also Ctrl-D)\n"
    "Ctrl-C stops an answer. Pasted text may have several lines.";

// A signal handler can only reach what is static: the flag of the answer under way.
std::atomic<CancelFlag*> answer_flag{nullptr};

void stop_answer(int /*signal*/) {
  if (CancelFlag* flag = answer_flag.load(); flag != nullptr) flag->raise();
}

// Ctrl-C stops answers while one of these lives.
class InterruptScope {
 public:
  InterruptScope() {
    struct sigaction action {};
    action.sa_handler = stop_answer;  // without SA_RESTART: reading a line ends too
    sigaction(SIGINT, &action, &before_);
  }
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
  ~InterruptScope() { sigaction(SIGINT, &before_, nullptr); }

 private:
  struct sigaction before_ {};
};

class Conversation {
 public:
  Conversation(ChatBackend& backend, const ChatOptions& options)
      : backend_(backend), system_(options.system) {
    start_anew();
  }

  // False if the answer failed.
  bool ask(const std::string& question) {
    messages_.push_back({"user", question});
    CancelFlag cancel;
    answer_flag = &cancel;
    std::string answer;
    bool fine = true;
    try {
      const ChatUsage usage = backend_.send(
          messages_,
          [&](const ChatDelta& delta) {
            answer += delta.text;
            printer_.print(delta);
          },
          cancel);
      printer_.end();
      printer_.note(usage_line(usage));
    } catch (const Error& error) {
      printer_.end();
      printer_.note(std::string("krasis: ") + error.what());
      fine = false;
    }
    answer_flag = nullptr;
    if (answer.empty()) {
      messages_.pop_back();  // a question without an answer would confuse the next one
    } else {
      messages_.push_back({"assistant", answer});
    }
    return fine;
  }

  // False for /exit.
  bool obey(const std::string& command) {
    if (command == "/exit" || command == "/quit") return false;
    if (command == "/new") {
      start_anew();
      printer_.note("a new conversation");
    } else if (command == "/system" || command.starts_with("/system ")) {
      system_ = command.size() > 8 ? command.substr(8) : "";
      start_anew();
      printer_.note(system_.empty() ? "a new conversation without a system message"
                                    : "a new conversation with this system message");
    } else if (command == "/help") {
      printer_.note(kHelp);
    } else {
      printer_.note("no such command: " + without_controls(command) + "; /help lists them");
    }
    return true;
  }

  AnswerPrinter& printer() { return printer_; }

 private:
  void start_anew() {
    messages_.clear();
    if (!system_.empty()) messages_.push_back({"system", system_});
  }

  ChatBackend& backend_;
  std::string system_;
  std::vector<ChatMessage> messages_;
  AnswerPrinter printer_;
};

FoundServer choose(const std::vector<FoundServer>& servers) {
  if (servers.size() == 1 || ::isatty(STDIN_FILENO) == 0) return servers.front();
  for (std::size_t i = 0; i < servers.size(); ++i) {
    std::fputs(
        fmt::format("{}  {} at {}\n", i + 1, servers[i].model, servers[i].address.url()).c_str(),
        stderr);
  }
  LineReader reader("which one? ");
  while (const auto line = reader.read()) {
    std::size_t number = 0;
    if (line->size() == 1 && (*line)[0] >= '1') number = static_cast<std::size_t>((*line)[0] - '0');
    if (number >= 1 && number <= servers.size()) return servers[number - 1];
    std::fputs(fmt::format("a number from 1 to {}\n", servers.size()).c_str(), stderr);
  }
  throw Error(ErrorCode::Cancelled, "chat: no server was chosen");
}

FoundServer find(const ServerChatOptions& options) {
  constexpr int kGivenServerTimeoutMs = 5000;
  if (options.address) {
    const auto model = served_model(*options.address, options.api_key, kGivenServerTimeoutMs);
    if (model) return {*options.address, *model};
    throw Error(ErrorCode::NotFound,
                "chat: " + options.address->url() +
                    ": no server answers there; start one with `krasis serve`, "
                    "or check the address and --api-key");
  }
  const auto servers = find_servers(options.api_key);
  if (servers.empty()) {
    throw Error(ErrorCode::NotFound,
                "chat: no server runs on this machine; start one with `krasis serve --model-path "
                "MODEL`, or name one with --host and --port");
  }
  return choose(servers);
}

}  // namespace

int run_chat(ChatBackend& backend, const ChatOptions& options) {
  const InterruptScope interrupts;
  Conversation conversation(backend, options);
  if (options.greet)
    conversation.printer().note(backend.description() + "; /help lists the commands");
  LineReader reader("> ");
  bool fine = true;
  while (const auto line = reader.read()) {
    if (line->find_first_not_of(" \t\r\n") == std::string::npos) continue;
    if (line->starts_with('/')) {
      if (!conversation.obey(*line)) break;
    } else {
      fine = conversation.ask(*line) && fine;
    }
  }
  return fine || ::isatty(STDIN_FILENO) != 0 ? 0 : 1;
}

int run_server_chat(const ServerChatOptions& options) {
  const FoundServer server = find(options);
  const auto backend = make_http_backend(server.address, server.model, options.api_key);
  return run_chat(*backend, options.chat);
}

}  // namespace krasis
