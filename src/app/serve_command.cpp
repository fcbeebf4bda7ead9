// krasis serve: an OpenAI-compatible HTTP API for one model.
#include <atomic>
#include <chrono>
#include <fmt/format.h>
#include <memory>
#include <thread>

#include "app/command.h"
#include "app/local_backend.h"
#include "app/model_options.h"
#include "app/option_checks.h"
#include "base/log.h"
#include "config/model_location.h"
#include "server/server.h"
#include "text/utf8.h"

namespace krasis {
namespace {

struct ServeOptions {
  ModelOptions model;
  ServerOptions server;
  std::string name, log_level = "info";
};

log::Level level_named(const std::string& name) {
  if (name == "debug") return log::Level::Debug;
  if (name == "warning") return log::Level::Warning;
  if (name == "error") return log::Level::Error;
  return log::Level::Info;
}

// Everything that serving needs; members are destroyed in reverse order, the server's user first.
struct Served {
  LoadedModel loaded;
  LocalWords words;
  Engine engine;

  Served(LoadedModel model, LocalWords text)
      : loaded(std::move(model)),
        words(std::move(text)),
        engine(*loaded.model, loaded.engine_options()) {}
};

std::unique_ptr<Served> load(const ServeOptions& options, LocalWords words, Server& server) {
  LoadedModel loaded = load_model(
      options.model, interrupt_flag(),
      [&](std::uint64_t done, std::uint64_t total) { server.set_progress(done, total); });
  return std::make_unique<Served>(std::move(loaded), std::move(words));
}

int run_serve(const ServeOptions& options) {
  log::set_level(level_named(options.log_level));
  const auto folder = find_model(options.model.model);
  const SamplingOptions defaults = sampling_defaults(folder);
  LocalWords words = read_words(folder);
  install_interrupt_handler();
  std::unique_ptr<Served> served;
  Server server(options.server);
  log::info(fmt::format("serve: {} answers, loading the model", server.url()));
  served = load(options, std::move(words), server);
  // A folder's name may be any bytes, JSON is UTF-8.
  const std::string given =
      options.name.empty() ? served->loaded.folder.filename().string() : options.name;
  std::string repaired;
  const std::string name(utf8::make_valid(given, repaired));
  const auto& chat_template = served->words.chat_template;
  ServedModel model = make_served_model(served->engine, served->words.tokenizer,
                                        chat_template ? &*chat_template : nullptr,
                                        served->loaded.description.spec, name);
  model.defaults = defaults;
  server.set_ready(model);
  log::info(fmt::format("serve: {} is ready at {}/v1, {} tokens of context, on {}", name,
                        server.url(), served->engine.context_length(), served->loaded.ops->name()));
  while (!interrupt_flag().raised()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  log::info("serve: stopping; a second Ctrl-C stops at once");
  server.stop();
  return kDone;
}

}  // namespace

void declare_serve(CLI::App& command, std::function<int()>& run) {
  auto options = std::make_shared<ServeOptions>();
  declare_model_options(command, options->model);
  add_threads_option(command, options->model.threads);
  command.add_option("--host", options->server.host, "address to listen on")
      ->check(not_empty())
      ->capture_default_str();
  command.add_option("--port", options->server.port, "port; 0: any free one")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  command.add_option("--api-key", options->server.api_key, "key that clients must send")
      ->envname("KRASIS_API_KEY");
  command.add_option("--served-model-name", options->name,
                     "name for clients; default: the folder's");
  add_concurrency_option(command, options->model.max_sequences);
  command
      .add_option("--max-waiting", options->server.max_waiting,
                  "requests that may wait; more are told 429")
      ->check(at_least(0))
      ->capture_default_str();
  command
      .add_option("--prompt-chunk", options->model.prompt_chunk,
                  "prompt tokens computed between two steps of writing; 0: what suits the device")
      ->check(CLI::Range(0, 65536))
      ->capture_default_str();
  command.add_option("--log-level", options->log_level, "debug, info, warning or error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
  run = [options] { return run_serve(*options); };
}

}  // namespace krasis
