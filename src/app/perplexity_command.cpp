// krasis perplexity: how well a model predicts a text, and how near it stays to its own BF16 form.
#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "app/command.h"
#include "app/device_choice.h"
#include "app/model_options.h"
#include "app/option_checks.h"
#include "app/perplexity.h"
#include "app/progress_bar.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "config/model_location.h"
#include "text/tokenizer.h"

namespace krasis {
namespace {

struct Options {
  ModelOptions model;
  PerplexityOptions perplexity;
  std::string file, weights = "bf16", path = "prefill", against;
  bool nearest = false;
  bool json = false;
};

LoadedModel load(const Options& options, const std::string& weights) {
  ModelOptions model = options.model;
  set_weights(model, weights);
  model.search = options.nearest ? ScaleSearch::Nearest : ScaleSearch::LeastSquareError;
  model.cache = false;  // a measurement leaves nothing on the disk
  model.context_length = options.perplexity.window;
  model.prompt_chunk = model.logit_rows = options.perplexity.chunk;
  return load_model_with_bar(model, interrupt_flag());
}

// What can be wrong without the weights.
void check_options(const Options& options, const ModelSpec& spec, std::size_t tokens) {
  check(options.perplexity, tokens);
  if (options.perplexity.window > spec.context_length) {
    throw Error(ErrorCode::InvalidArgument,
                fmt::format("perplexity: --window {}, but the model was made for {} tokens; choose "
                            "at most that",
                            options.perplexity.window, spec.context_length));
  }
  const bool tiles =
      options.weights != "bf16" || (!options.against.empty() && options.against != "bf16");
  if (!tiles && (options.nearest || options.model.group > 0)) {
    throw Error(ErrorCode::InvalidArgument,
                "perplexity: --expert-group and --round-to-nearest mean nothing with weights as "
                "stored; choose --weights int8 or int4");
  }
}

int run_perplexity(const Options& options) {
  const auto folder = find_model(options.model.model);
  const std::string text = read_file(options.file);
  const auto ids = text::Tokenizer::load(folder).encode(text, {.add_special_tokens = true});
  check_options(options, read_model_description(folder).spec, ids.size());
  install_interrupt_handler();
  LoadedModel loaded = load(options, options.weights);
  std::optional<LoadedModel> reference;
  if (!options.against.empty()) reference = load(options, options.against);

  PerplexityResult result;
  {
    ProgressBar bar("perplexity", "tokens");
    result = measure_perplexity(*loaded.model, reference ? reference->model.get() : nullptr, ids,
                                options.perplexity, [&](std::uint64_t done, std::uint64_t total) {
                                  interrupt_flag().check("perplexity");
                                  bar.update(done, total);
                                });
  }
  const double bits_per_byte = result.nll / std::log(2.0) / static_cast<double>(text.size());
  fmt::print("{}, weights {}, cache {}, {} path, window {}, stride {}\n", options.file,
             options.weights, name_of(loaded.kv_type), options.path, options.perplexity.window,
             options.perplexity.stride);
  fmt::print("perplexity {:.4f} over {} tokens, {:.4f} bits a byte\n", result.perplexity(),
             result.tokens, bits_per_byte);
  if (result.mean_kl) {
    fmt::print("against {}: mean KL divergence {:.6f} nats, top-1 agreement {:.2f} %\n",
               options.against, *result.mean_kl, 100 * *result.top1_share);
  }
  if (options.json) {
    nlohmann::ordered_json line = {{"perplexity", result.perplexity()},
                                   {"tokens", result.tokens},
                                   {"nll", result.nll},
                                   {"bits_per_byte", bits_per_byte}};
    if (result.mean_kl) {
      line["mean_kl"] = *result.mean_kl;
      line["top1_agreement"] = *result.top1_share;
    }
    fmt::print("{}\n", line.dump());
  }
  return kDone;
}

}  // namespace

void declare_perplexity(CLI::App& command, std::function<int()>& run) {
  auto options = std::make_shared<Options>();
  const CLI::IsMember weights({"bf16", "int8", "int4"});
  add_model_option(command, options->model.model);
  command.add_option("file", options->file, "text file")->required();
  command.add_option("--window", options->perplexity.window, "tokens the model sees at once")
      ->check(at_least(2))
      ->capture_default_str();
  command.add_option("--stride", options->perplexity.stride, "tokens from window to window")
      ->check(at_least(1))
      ->capture_default_str();
  command.add_option("--weights", options->weights, "bf16 (as stored), int8 or int4")
      ->check(weights)
      ->capture_default_str();
  command.add_option("--against", options->against, "compare with these weights of the same model")
      ->check(weights);
  command.add_option("--path", options->path, "prefill (many tokens a step) or decode (one)")
      ->check(CLI::IsMember({"prefill", "decode"}))
      ->capture_default_str();
  add_group_option(command, options->model.group);
  add_kv_option(command, options->model.kv_type);
  command.add_flag("--round-to-nearest", options->nearest, "quantize without searching the scales");
  declare_device_options(command, options->model.device);
  add_force_option(command, options->model.force_load);
  add_threads_option(command, options->model.threads);
  command.add_flag("--json", options->json, "last line: a JSON object");
  run = [options] {
    options->perplexity.kv_type = options->model.kv_type;
    options->perplexity.token_by_token = options->path == "decode";
    return run_perplexity(*options);
  };
}

}  // namespace krasis
