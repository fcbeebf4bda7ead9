// krasis run: one answer in the terminal. krasis demo: the same with the model that comes with the
// program, then a chat.
#include <cstdio>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <unistd.h>

#include "app/command.h"
#include "app/device_choice.h"
#include "app/local_backend.h"
#include "app/model_options.h"
#include "app/option_checks.h"
#include "app/text_files.h"
#include "chat/chat.h"
#include "chat/printer.h"
#include "config/model_location.h"
#include "text/utf8.h"

namespace krasis {
namespace {

struct RunOptions {
  ModelOptions model;
  LocalBackendOptions backend;
  std::string prompt, system;
  bool raw = false;
  // What the command line says over generation_config.json.
  std::optional<float> temperature, top_p, min_p;
  std::optional<std::int64_t> top_k;
  std::optional<std::uint64_t> seed;
};

void apply_sampling(RunOptions& options, const std::filesystem::path& folder) {
  SamplingOptions& sampling = options.backend.sampling;
  sampling = sampling_defaults(folder);
  if (options.temperature) sampling.temperature = *options.temperature;
  if (options.top_p) sampling.top_p = *options.top_p;
  if (options.min_p) sampling.min_p = *options.min_p;
  if (options.top_k) sampling.top_k = *options.top_k;
  if (options.seed) sampling.seed = options.seed;
}

void require_utf8(const char* what, const std::string& words) {
  std::string repaired;
  if (utf8::make_valid(words, repaired) == words) return;
  throw Error(ErrorCode::InvalidArgument,
              fmt::format("run: the {} is not valid UTF-8; convert it first", what));
}

// Asks once and prints the answer; false if Ctrl-C stopped it.
bool answer(LocalBackend& backend, const RunOptions& options, const std::string& prompt) {
  AnswerPrinter printer;
  const auto show = [&](const ChatDelta& delta) { printer.print(delta); };
  ChatUsage usage;
  if (options.raw) {
    usage = backend.complete(prompt, show, interrupt_flag());
  } else {
    std::vector<ChatMessage> messages;
    if (!options.system.empty()) messages.push_back({"system", options.system});
    messages.push_back({"user", prompt});
    usage = backend.send(messages, show, interrupt_flag());
  }
  printer.end();
  printer.note(usage_line(usage));
  return !usage.cancelled;
}

// What can be wrong without the weights is found before they are read, which takes long.
LocalWords prepare(RunOptions& options, const std::filesystem::path& folder,
                   const std::string& prompt) {
  if (prompt.empty()) {
    throw Error(ErrorCode::InvalidArgument,
                "run: the prompt is empty; give one with -p or on standard input");
  }
  require_utf8("prompt", prompt);
  require_utf8("system message", options.system);
  if (options.raw && !options.system.empty()) {
    throw Error(ErrorCode::InvalidArgument,
                "run: --system means nothing with --raw, which has no messages; leave out one");
  }
  apply_sampling(options, folder);
  LocalWords words = read_words(folder);
  if (!options.raw) require_template(words, folder);
  return words;
}

int run_once(RunOptions& options) {
  const auto folder = find_model(options.model.model);
  const std::string prompt = options.prompt.empty() ? read_standard_input() : options.prompt;
  LocalWords words = prepare(options, folder, prompt);
  install_interrupt_handler();
  LoadedModel loaded = load_model_with_bar(options.model, interrupt_flag());
  LocalBackend backend(loaded, std::move(words), options.backend);
  return answer(backend, options, prompt) ? kDone : kFailed;
}

int run_demo(RunOptions& options) {
  const auto folder = find_model(options.model.model);
  LocalWords words = prepare(options, folder, options.prompt);
  install_interrupt_handler();
  LoadedModel loaded = load_model_with_bar(options.model, interrupt_flag());
  LocalBackend backend(loaded, std::move(words), options.backend);
  fmt::print("> {}\n", options.prompt);
  std::fflush(stdout);
  if (!answer(backend, options, options.prompt)) return kFailed;
  if (::isatty(STDIN_FILENO) == 0) return kDone;
  return run_chat(backend, {.system = options.system});
}

void declare_sampling(CLI::App& command, RunOptions& options) {
  command
      .add_option("--max-tokens", options.backend.max_tokens,
                  "tokens of the answer at most; 0: as the context allows")
      ->check(at_least(0));
  // The ranges are the sampler's.
  command.add_option("--temperature", options.temperature, "0: always the likeliest token")
      ->check(number_of(0, 100));
  command.add_option("--top-p", options.top_p, "likeliest tokens up to this probability")
      ->check(number_of(1e-6, 1));
  command.add_option("--top-k", options.top_k, "so many likeliest tokens; 0: all")
      ->check(at_least(0));
  command
      .add_option("--min-p", options.min_p, "tokens of this share of the best one's probability")
      ->check(number_of(0, 1));
  command.add_option("--seed", options.seed, "the same seed gives the same answer")
      ->check(at_least(0));
  command.add_option("--system", options.system, "system message");
}

}  // namespace

void declare_run(CLI::App& command, std::function<int()>& run) {
  auto options = std::make_shared<RunOptions>();
  declare_model_options(command, options->model);
  add_threads_option(command, options->model.threads);
  command.add_option("-p,--prompt", options->prompt, "prompt; standard input if not given");
  command.add_flag("--raw", options->raw,
                   "continue the prompt as plain text, without a chat template");
  declare_sampling(command, *options);
  run = [options] { return run_once(*options); };
}

void declare_demo(CLI::App& command, std::function<int()>& run) {
  auto options = std::make_shared<RunOptions>();
  options->model.model = "demo";
  options->prompt = "What is a lighthouse?";
  // The demo model is small enough to be run as it was trained; INT4 is for models that are not.
  options->model.expert_bits = 8;
  options->model.cache = false;
  options->seed = 1;
  command.add_option("-p,--prompt", options->prompt, "first question")->capture_default_str();
  declare_device_options(command, options->model.device);
  add_context_option(command, options->model.context_length);
  add_threads_option(command, options->model.threads);
  declare_sampling(command, *options);
  run = [options] { return run_demo(*options); };
}

}  // namespace krasis
