// The program: finds the command, runs it, and turns what it throws into one sentence and an exit
// code.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <new>
#include <sstream>
#include <unistd.h>

#include "app/command.h"
#include "base/error.h"

namespace krasis {
namespace {

const std::array kCommands = {
    Command{"run", "answer one prompt in the terminal", declare_run},
    Command{"serve", "serve an OpenAI-compatible HTTP API", declare_serve},
    Command{"chat", "talk to a running server", declare_chat},
    Command{"demo", "answer a question with the model that comes with krasis, then chat",
            declare_demo},
    Command{"plan", "what would go where, from config.json alone", declare_plan},
    Command{"quantize", "build the expert cache and stop", declare_quantize},
    Command{"bench", "measure prefill and decode", declare_bench},
    Command{"perplexity", "perplexity of a text file", declare_perplexity},
    Command{"tokenize", "JSON lines {\"text\"} to {\"ids\", \"decoded\"}", declare_tokenize},
    Command{"render", "JSON lines {\"messages\", ...} to {\"rendered\"}", declare_render},
    Command{"trace", "hidden states and logits of given token ids", declare_trace},
};

int exit_code_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::InvalidArgument:
    case ErrorCode::NotFound:
    case ErrorCode::Unsupported:
      return kUsage;
    case ErrorCode::OutOfMemory:
    case ErrorCode::Device:
      return kMachine;
    case ErrorCode::Corrupt:
    case ErrorCode::Io:
    case ErrorCode::Cancelled:
    case ErrorCode::Internal:
      return kFailed;
  }
  return kFailed;
}

// An option that is also a positional stands in both lists; the second time it says so.
class HelpFormatter final : public CLI::Formatter {
 public:
  std::string make_option(const CLI::Option* option, bool is_positional) const override {
    if (is_positional || !option->get_positional())
      return CLI::Formatter::make_option(option, is_positional);
    std::stringstream out;
    CLI::detail::format_help(out, make_option_name(option, false) + " TEXT", "the same, by name",
                             column_width_);
    return out.str();
  }
};

// What was opened next would otherwise take the place of a stream that the caller has closed, and
// be written to as if it were that.
void keep_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) != -1 || errno != EBADF) continue;
    // Standard output cannot be written then, which is an error as ever.
    ::open("/dev/null", stream == STDERR_FILENO ? O_WRONLY : O_RDONLY);
  }
}

// What the commands have printed must have arrived.
int flushed(int exit_code) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return exit_code;
  throw Error(ErrorCode::Io,
              fmt::format("output: standard output cannot be written: {}", std::strerror(errno)));
}

void refuse_unknown_command(const char* word) {
  const auto is_named = [&](const Command& command) { return command.name == word; };
  if (*word == '-' || std::ranges::any_of(kCommands, is_named)) return;
  const std::string problem =
      *word == '\0' ? "no command is named" : fmt::format("\"{}\" is no command", word);
  throw Error(ErrorCode::InvalidArgument, problem + "; `krasis --help` lists the commands");
}

int run_program(int argc, char** argv) {
  CLI::App app(
      "krasis runs Mixture-of-Experts language models that are larger than the GPU's memory");
  app.require_subcommand(1);
  app.formatter(std::make_shared<HelpFormatter>());
  app.set_version_flag("--version", "krasis " KRASIS_VERSION);
  std::function<int()> chosen;
  for (const Command& command : kCommands) {
    CLI::App* sub = app.add_subcommand(command.name, command.summary);
    auto run = std::make_shared<std::function<int()>>();
    command.declare(*sub, *run);
    sub->callback([run, &chosen] { chosen = *run; });
  }
  refuse_unknown_command(argc > 1 ? argv[1] : "");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return flushed(app.exit(help));
  } catch (const CLI::CallForVersion& version) {
    return flushed(app.exit(version));
  } catch (const CLI::ParseError& error) {
    const auto named = app.get_subcommands();
    const std::string hint = named.empty()
                                 ? "`krasis --help` lists the commands"
                                 : "`krasis " + named[0]->get_name() + " --help` lists the options";
    std::fprintf(stderr, "krasis: %s; %s\n", error.what(), hint.c_str());
    return kUsage;
  }
  return flushed(chosen());
}

}  // namespace
}  // namespace krasis

int main(int argc, char** argv) {
  // Installed a second time as krasis-chat: the chat client.
  std::vector<char*> words(argv, argv + argc);
  std::string chat = "chat";
  if (argc > 0 && std::filesystem::path(argv[0]).filename() == "krasis-chat")
    words.insert(words.begin() + 1, chat.data());
  try {
    krasis::keep_standard_streams();
    return krasis::run_program(static_cast<int>(words.size()), words.data());
  } catch (const krasis::Error& error) {
    std::fprintf(stderr, "krasis: %s\n", error.what());
    return krasis::exit_code_of(error.code());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "krasis: out of memory; close other programs or use a smaller model\n");
    return krasis::kMachine;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "krasis: internal: %s\n", error.what());
    return krasis::kFailed;
  }
}
