// krasis bench: prefill and decode of one model, with the bound beside each figure.
#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <future>
#include <nlohmann/json.hpp>
#include <random>

#include "app/command.h"
#include "app/model_options.h"
#include "app/text_files.h"
#include "budget/token_bytes.h"
#include "engine/engine.h"
#include "tune/memory_rate.h"
#include "weights/cache_plan.h"

namespace krasis {
namespace {

using Json = nlohmann::ordered_json;

struct BenchOptions {
  ModelOptions model;
  std::vector<std::int64_t> prompt_tokens{512, 2048};
  std::int64_t generate = 64;
  int repeat = 5;
  std::string text;
  bool json = false;
};

struct Rate {
  double median, least, most;
};

Rate rate_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, values.front(), values.back()};
}

Json to_json(const Rate& rate) {
  return {{"median", rate.median}, {"min", rate.least}, {"max", rate.most}};
}

// Runs one request to its end and returns its last event.
TokenEvent run_request(Engine& engine, std::vector<std::int32_t> prompt, std::int64_t generate) {
  std::promise<TokenEvent> done;
  Request request;
  request.prompt = std::move(prompt);
  request.max_tokens = generate;
  request.ignore_end = true;
  request.sampling.temperature = 0;
  engine.submit(std::move(request), [&](const TokenEvent& event) {
    if (event.finish != FinishReason::None) done.set_value(event);
  });
  TokenEvent last = done.get_future().get();
  if (last.finish == FinishReason::Failed)
    throw Error(ErrorCode::Internal, "bench: a request failed: " + last.error);
  return last;
}

// Prompts of natural text where the model has a tokenizer, random ids otherwise. Each run takes
// another part of the text, so that routing spreads as it does in use.
class PromptSource {
 public:
  PromptSource(const BenchOptions& options, const LoadedModel& loaded)
      : vocab_(static_cast<std::int32_t>(loaded.description.spec.vocab)) {
    if (options.model.dummy && options.text.empty()) return;
    text_ = encode_text_file(loaded.folder, options.text);
  }

  std::vector<std::int32_t> next(std::int64_t tokens) {
    std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens));
    std::uniform_int_distribution<std::int32_t> any(0, vocab_ - 1);
    for (std::int32_t& id : ids) {
      id = text_.empty() ? any(random_) : text_[position_++ % text_.size()];
    }
    return ids;
  }

  const char* kind() const { return text_.empty() ? "random token ids" : "natural text"; }

 private:
  std::int32_t vocab_;
  std::vector<std::int32_t> text_;
  std::size_t position_ = 0;
  std::mt19937 random_{1};
};

struct PrefillRow {
  std::int64_t tokens;
  Rate rate;
};

struct Figures {
  std::vector<PrefillRow> prefill;
  Rate decode;
  double read_rate;            // bytes of RAM a second, this run; 0: the weights are not there
  std::uint64_t decode_bytes;  // weight bytes a token of decode reads
};

WeightBytes weight_bytes(const ModelOptions& options, const ModelSpec& spec) {
  const auto dense = [](DenseFormat format) {
    return format == DenseFormat::Int8 ? 1 + 2.0 / 128 : 2;
  };
  const double scale = 2.0 / expert_tile_type(spec, options.expert_bits, options.group).group;
  return {.attention = dense(options.dense.attention),
          .shared_expert = dense(options.dense.shared_expert),
          .dense_mlp = dense(options.dense.dense_mlp),
          .lm_head = dense(options.dense.lm_head),
          .expert = options.expert_bits == 16 ? 2 : options.expert_bits / 8.0 + scale};
}

Figures measure(const BenchOptions& options, LoadedModel& loaded, PromptSource& prompts) {
  const std::int64_t longest =
      *std::max_element(options.prompt_tokens.begin(), options.prompt_tokens.end());
  Figures figures{};
  if (loaded.ops->memory().is_host()) figures.read_rate = measure_read_rate(*loaded.pool);
  figures.decode_bytes = decode_weight_bytes(loaded.description.spec,
                                             weight_bytes(options.model, loaded.description.spec));
  Engine engine(*loaded.model, {.context_length = longest + options.generate,
                                .max_sequences = 1,
                                .prompt_chunk = loaded.prompt_chunk,
                                .kv_type = loaded.kv_type});
  run_request(engine, prompts.next(std::min<std::int64_t>(longest, 128)), 4);  // warm-up
  for (const std::int64_t tokens : options.prompt_tokens) {
    std::vector<double> rates;
    for (int i = 0; i < options.repeat; ++i) {
      const TokenEvent last = run_request(engine, prompts.next(tokens), 1);
      rates.push_back(static_cast<double>(tokens) / last.prefill_ms * 1e3);
    }
    figures.prefill.push_back({tokens, rate_of(rates)});
  }
  std::vector<double> rates;
  for (int i = 0; i < options.repeat; ++i) {
    const TokenEvent last = run_request(engine, prompts.next(16), options.generate);
    rates.push_back(static_cast<double>(options.generate - 1) / last.decode_ms * 1e3);
  }
  figures.decode = rate_of(rates);
  return figures;
}

void print_table(const Figures& figures) {
  fmt::print("{:<22} {:>12} {:>22} {:>12} {:>8}\n", "", "tok/s", "(least to most)", "bound",
             "share");
  for (const PrefillRow& row : figures.prefill) {
    fmt::print("{:<22} {:>12.1f} {:>22} {:>12} {:>8}\n", fmt::format("prefill {}", row.tokens),
               row.rate.median, fmt::format("({:.1f} to {:.1f})", row.rate.least, row.rate.most),
               "-", "-");
  }
  const double bound = figures.read_rate / static_cast<double>(figures.decode_bytes);
  const std::string range =
      fmt::format("({:.1f} to {:.1f})", figures.decode.least, figures.decode.most);
  if (figures.read_rate == 0) {
    fmt::print("{:<22} {:>12.1f} {:>22} {:>12} {:>8}\n", "decode", figures.decode.median, range,
               "-", "-");
    fmt::print("decode reads {:.3f} GB of weights a token\n",
               static_cast<double>(figures.decode_bytes) / 1e9);
    return;
  }
  fmt::print("{:<22} {:>12.1f} {:>22} {:>12.1f} {:>7.0f}%\n", "decode", figures.decode.median,
             range, bound, 100 * figures.decode.median / bound);
  fmt::print("decode's bound: {:.3f} GB of weights a token at {:.1f} GB/s, read in the same run\n",
             static_cast<double>(figures.decode_bytes) / 1e9, figures.read_rate / 1e9);
}

void print_json(const Figures& figures, const BenchOptions& options, const LoadedModel& loaded,
                const char* prompt_kind) {
  Json prefill = Json::array();
  for (const PrefillRow& row : figures.prefill)
    prefill.push_back({{"tokens", row.tokens}, {"tokens_per_second", to_json(row.rate)}});
  const Json report = {
      {"model", loaded.folder.filename().string()},
      {"layers", loaded.description.spec.layers.size()},
      {"expert_bits", options.model.expert_bits},
      {"threads", loaded.pool->size()},
      {"backend", std::string(loaded.ops->name())},
      {"prompts", prompt_kind},
      {"repeat", options.repeat},
      {"prefill", prefill},
      {"decode",
       {{"tokens", options.generate},
        {"tokens_per_second", to_json(figures.decode)},
        {"bound_tokens_per_second", figures.read_rate / static_cast<double>(figures.decode_bytes)},
        {"bytes_per_token", figures.decode_bytes}}},
      {"memory_read_bytes_per_second", figures.read_rate}};
  fmt::print("{}\n", report.dump());
}

int run_bench(const BenchOptions& options) {
  install_interrupt_handler();
  LoadedModel loaded = load_model_with_bar(options.model, interrupt_flag());
  PromptSource prompts(options, loaded);
  const Figures figures = measure(options, loaded, prompts);
  if (!options.json) {
    fmt::print("{}, {} layers, {}, prompts of {}, median of {}\n",
               loaded.folder.filename().string(), loaded.description.spec.layers.size(),
               loaded.ops->name(), prompts.kind(), options.repeat);
    print_table(figures);
  } else {
    print_json(figures, options, loaded, prompts.kind());
  }
  return kDone;
}

}  // namespace

void declare_bench(CLI::App& command, std::function<int()>& run) {
  auto options = std::make_shared<BenchOptions>();
  declare_model_options(command, options->model);
  command.add_option("--prompt-tokens", options->prompt_tokens, "prompt lengths to measure")
      ->check(CLI::PositiveNumber)
      ->delimiter(',')
      ->capture_default_str();
  command.add_option("--generate", options->generate, "tokens of decode to measure")
      ->check(CLI::Range(2, 100000))
      ->capture_default_str();
  command.add_option("--repeat", options->repeat, "runs of each measurement")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command.add_option(
      "--text", options->text,
      "text file the prompts are taken from (default: the one that comes with krasis)");
  command.add_flag("--json", options->json, "print one JSON object instead of a table");
  run = [options] { return run_bench(*options); };
}

}  // namespace krasis
