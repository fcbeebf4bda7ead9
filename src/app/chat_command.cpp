// krasis chat, also installed as krasis-chat.
#include <memory>

#include "app/command.h"
#include "chat/chat.h"

namespace krasis {

void declare_chat(CLI::App& command, std::function<int()>& run) {
  struct Options {
    std::string host;
    int port = 0;
    ServerChatOptions chat;
  };
  auto options = std::make_shared<Options>();
  command.add_option("--host", options->host,
                     "server's host; looks for servers if neither is given");
  command.add_option("--port", options->port, "server's port")->check(CLI::Range(1, 65535));
  command.add_option("--api-key", options->chat.api_key, "key that the server asks for")
      ->envname("KRASIS_API_KEY");
  command.add_option("--system", options->chat.chat.system, "system message");
  run = [options] {
    ServerAddress address;
    if (!options->host.empty()) address.host = options->host;
    if (options->port != 0) address.port = options->port;
    if (!options->host.empty() || options->port != 0) options->chat.address = address;
    return run_server_chat(options->chat);
  };
}

}  // namespace krasis
