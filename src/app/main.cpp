// The program: finds the command, runs it, and turns what it throws into one sentence and an exit
// code.
#include <array>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <new>

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

int run_program(int argc, char** argv) {
  CLI::App app(
      "krasis runs Mixture-of-Experts language models that are larger than the GPU's memory");
  app.require_subcommand(1);
  app.set_version_flag("--version", "krasis " KRASIS_VERSION);
  std::function<int()> chosen;
  for (const Command& command : kCommands) {
    CLI::App* sub = app.add_subcommand(command.name, command.summary);
    auto run = std::make_shared<std::function<int()>>();
    command.declare(*sub, *run);
    sub->callback([run, &chosen] { chosen = *run; });
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForVersion& version) {
    return app.exit(version);
  } catch (const CLI::ParseError& error) {
    const auto named = app.get_subcommands();
    const std::string hint = named.empty()
                                 ? "`krasis --help` lists the commands"
                                 : "`krasis " + named[0]->get_name() + " --help` lists the options";
    std::fprintf(stderr, "krasis: %s; %s\n", error.what(), hint.c_str());
    return kUsage;
  }
  return chosen();
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
