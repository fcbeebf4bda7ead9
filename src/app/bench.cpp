// krasis bench: prefill and decode of one model, with the bound beside each figure.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fmt/format.h>
#include <future>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "app/command.h"
#include "app/model_options.h"
#include "app/option_checks.h"
#include "app/text_files.h"
#include "budget/rates.h"
#include "config/model_location.h"
#include "engine/engine.h"
#include "tune/memory_rate.h"

namespace krasis {
namespace {

using Json = nlohmann::ordered_json;

struct BenchOptions {
  ModelOptions model;
  std::vector<std::int64_t> prompt_tokens;  // empty: the usual ones that the model has room for
  std::int64_t generate = 64;
  std::int64_t prefix = 0;  // tokens in the cache before each prompt
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
  std::future<TokenEvent> ended = done.get_future();
  Request request;
  request.prompt = std::move(prompt);
  request.max_tokens = generate;
  request.ignore_end = true;
  request.sampling.temperature = 0;
  const RequestId id = engine.submit(std::move(request), [&](const TokenEvent& event) {
    if (event.finish != FinishReason::None) done.set_value(event);
  });
  while (ended.wait_for(std::chrono::milliseconds(50)) != std::future_status::ready)
    if (interrupt_flag().raised()) engine.cancel(id);
  TokenEvent last = ended.get();
  interrupt_flag().check("bench");
  if (last.finish == FinishReason::Failed)
    throw Error(last.error_code, "bench: a request failed: " + last.error);
  return last;
}

// Prompts of natural text where the model has a tokenizer, random ids otherwise. Each run takes
// another part of the text, so that routing spreads as it does in use.
class PromptSource {
 public:
  explicit PromptSource(const BenchOptions& options)
      : vocab_(static_cast<std::int32_t>(described(options.model).spec.vocab)) {
    if (options.model.dummy && options.text.empty()) return;
    text_ = encode_text_file(find_model(options.model.model), options.text);
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
  std::int64_t prefix;  // tokens that were there before
  std::int64_t tokens;
  Rate rate;
  double bound;  // tokens a second; 0: not known
};

struct Figures {
  MachineRates machine;  // measured in this run; 0: not there
  std::vector<PrefillRow> prefill;
  Rate decode;
  double decode_bound;
  std::uint64_t planned_bytes, used_bytes;  // of the device's memory by this program; 0: none
};

// One sequence, by the model itself.
class Sequence {
 public:
  Sequence(LoadedModel& loaded, std::int64_t most_tokens)
      : model_(*loaded.model),
        chunk_(loaded.plan.pass_tokens),
        pages_(static_cast<std::size_t>((most_tokens + kPageTokens - 1) / kPageTokens)),
        state_(model_.spec(),
               {.pages = static_cast<std::int64_t>(pages_.size()),
                .page_tokens = kPageTokens,
                .slots = 1,
                .kv_type = loaded.kv_type},
               model_.memory()) {
    std::iota(pages_.begin(), pages_.end(), 0);
  }

  void begin() { past_ = 0; }

  // The sequence goes on with these; what the model would have chosen is found and not used.
  // Seconds.
  double run(std::span<const std::int32_t> ids) {
    const auto start = std::chrono::steady_clock::now();
    while (!ids.empty()) {
      const auto count = std::min(chunk_, static_cast<std::int64_t>(ids.size()));
      const auto part = ids.first(static_cast<std::size_t>(count));
      Batch batch;
      batch.ids.assign(part.begin(), part.end());
      batch.positions.resize(part.size());
      std::iota(batch.positions.begin(), batch.positions.end(), static_cast<std::int32_t>(past_));
      batch.segments = {{.first_row = 0, .rows = count, .past = past_, .slot = 0, .pages = pages_}};
      batch.logit_rows = {static_cast<std::int32_t>(count - 1)};
      interrupt_flag().check("bench");
      std::int32_t best = 0;
      float value = 0;
      model_.forward_best(batch, state_, {.count = 1, .ids = {&best, 1}, .values = {&value, 1}});
      ids = ids.subspan(part.size());
      past_ += count;
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

 private:
  static constexpr std::int64_t kPageTokens = 64;

  Model& model_;
  std::int64_t chunk_, past_ = 0;
  std::vector<std::int32_t> pages_;
  ModelState state_;
};

constexpr std::int64_t kWarmUpPrompt = 128, kWarmUpTokens = 4;
constexpr std::int64_t kDecodePrompt = 16;

std::int64_t longest(const BenchOptions& options) {
  return *std::max_element(options.prompt_tokens.begin(), options.prompt_tokens.end());
}

// Prompts on top of tokens that are in the cache already: every run reads the prefix again, since
// recurrent state cannot be taken back, and only the rest is timed.
void measure_prefixed(const BenchOptions& options, LoadedModel& loaded, PromptSource& prompts,
                      Figures& figures) {
  for (const std::int64_t tokens : options.prompt_tokens) {
    Sequence sequence(loaded, options.prefix + tokens);
    std::vector<double> rates;
    for (int i = 0; i < options.repeat; ++i) {
      sequence.begin();
      sequence.run(prompts.next(options.prefix));
      rates.push_back(static_cast<double>(tokens) / sequence.run(prompts.next(tokens)));
    }
    figures.prefill.push_back({options.prefix, tokens, rate_of(rates), 0});
  }
}

cuda::DecodePairs pairs_so_far(const LoadedModel& loaded) {
  return loaded.plan.on_device ? cuda::decode_pairs(*loaded.ops) : cuda::DecodePairs();
}

// With the share of experts that the processor had since `before`: residents follow what is chosen.
double decode_bound(const LoadedModel& loaded, const MachineRates& machine,
                    const cuda::DecodePairs& before, std::int64_t context) {
  const cuda::DecodePairs now = pairs_so_far(loaded);
  std::optional<double> hits;
  if (now.all > before.all) {
    hits = 1 - static_cast<double>(now.on_processor - before.on_processor) /
                   static_cast<double>(now.all - before.all);
  }
  return decode_rates(loaded.description.spec, loaded.types, loaded.plan, machine,
                      {.context = context, .hits = hits})
      .bound;
}

void measure_with_engine(const BenchOptions& options, LoadedModel& loaded, PromptSource& prompts,
                         Figures& figures) {
  Engine engine(*loaded.model, loaded.engine_options());
  run_request(engine, prompts.next(std::min(longest(options), kWarmUpPrompt)), kWarmUpTokens);
  for (const std::int64_t tokens : options.prompt_tokens) {
    if (options.prefix > 0) break;
    std::vector<double> rates;
    for (int i = 0; i < options.repeat; ++i) {
      const TokenEvent last = run_request(engine, prompts.next(tokens), 1);
      rates.push_back(static_cast<double>(tokens) / last.prefill_ms * 1e3);
    }
    figures.prefill.push_back({0, tokens, rate_of(rates), 0});
  }
  figures.used_bytes = loaded.ops->memory().used_bytes();
}

// Tokens one by one, each given and not chosen: a made-up model that writes by itself repeats
// itself, and asks for the same experts again and again.
void measure_decode(const BenchOptions& options, LoadedModel& loaded, PromptSource& prompts,
                    Figures& figures) {
  Sequence sequence(loaded, kDecodePrompt + options.generate);
  std::vector<double> rates, bounds;
  for (int i = 0; i < options.repeat; ++i) {
    sequence.begin();
    sequence.run(prompts.next(kDecodePrompt));
    const cuda::DecodePairs before = pairs_so_far(loaded);
    double seconds = 0;
    for (const std::int32_t& id : prompts.next(options.generate))
      seconds += sequence.run(std::span(&id, 1));
    rates.push_back(static_cast<double>(options.generate) / seconds);
    bounds.push_back(
        decode_bound(loaded, figures.machine, before, kDecodePrompt + options.generate / 2));
  }
  figures.decode = rate_of(rates);
  figures.decode_bound = rate_of(bounds).median;
}

Figures measure(const BenchOptions& options, LoadedModel& loaded, PromptSource& prompts) {
  const ModelSpec& spec = loaded.description.spec;
  Figures figures{};
  figures.machine = loaded.rates;
  if (figures.machine.ram == 0) figures.machine.ram = measure_read_rate(*loaded.pool);
  measure_with_engine(options, loaded, prompts, figures);
  measure_decode(options, loaded, prompts, figures);
  if (options.prefix > 0) measure_prefixed(options, loaded, prompts, figures);
  for (PrefillRow& row : figures.prefill)
    row.bound = prompt_rates(spec, loaded.types, loaded.plan, figures.machine,
                             {.tokens = row.tokens, .past = row.prefix})
                    .bound;
  if (loaded.plan.on_device) figures.planned_bytes = total_bytes(loaded.plan.vram) - kDriverBytes;
  return figures;
}

std::string row_name(const PrefillRow& row) {
  if (row.prefix == 0) return fmt::format("prefill {}", row.tokens);
  return fmt::format("prefill {} + {}", row.prefix, row.tokens);
}

void print_row(const std::string& name, const Rate& rate, double bound) {
  const std::string range = fmt::format("({:.1f} to {:.1f})", rate.least, rate.most);
  fmt::print("{:<22} {:>12.1f} {:>22} {:>12} {:>8}\n", name, rate.median, range,
             bound > 0 ? fmt::format("{:.1f}", bound) : "-",
             bound > 0 ? fmt::format("{:.0f}%", 100 * rate.median / bound) : "-");
}

void print_table(const Figures& figures, const LoadedModel& loaded) {
  const ModelSpec& spec = loaded.description.spec;
  const Plan& plan = loaded.plan;
  fmt::print("{:<22} {:>12} {:>22} {:>12} {:>8}\n", "", "tok/s", "(least to most)", "bound",
             "share");
  for (const PrefillRow& row : figures.prefill) print_row(row_name(row), row.rate, row.bound);
  print_row("decode", figures.decode, figures.decode_bound);
  const MachineRates& machine = figures.machine;
  const double routed = routed_bytes_a_token(spec, loaded.types);
  const auto all = static_cast<double>(decode_weight_bytes(spec, bytes_per_weight(loaded.types)));
  if (!plan.on_device) {
    fmt::print("decode's bound: {:.3f} GB of weights a token at {:.1f} GB/s, read in this run\n",
               all / 1e9, machine.ram / 1e9);
    return;
  }
  fmt::print(
      "prefill's bound: {:.2f} GB of experts a pass of {} tokens at {:.1f} GB/s, or {:.2f} GFLOP a "
      "token and attention's scores at {:.0f} TFLOP/s (a product of [8192, 4096] and [4096, "
      "4096]); "
      "what the processor computes of shorter prompts comes on top\n",
      static_cast<double>(plan.streamed_bytes) / 1e9, plan.pass_tokens, machine.link / 1e9,
      operations_a_token(spec) / 1e9, machine.operations / 1e12);
  fmt::print(
      "decode's bound: {:.3f} GB of dense weights at {:.0f} GB/s, then {:.3f} GB of experts there "
      "and, as many as the processor was asked for, in RAM at {:.1f} GB/s; {} of {} in VRAM; rates "
      "measured in this run\n",
      (all - routed) / 1e9, machine.vram / 1e9, routed / 1e9, machine.ram / 1e9,
      plan.resident_experts, plan.experts);
  fmt::print(
      "VRAM: {:.3f} GB planned, {:.3f} GB allocated ({:+.2f}%), beside {:.2f} GB for the "
      "driver; mode {}, parts of {} tokens\n",
      static_cast<double>(figures.planned_bytes) / 1e9,
      static_cast<double>(figures.used_bytes) / 1e9,
      100 * (static_cast<double>(figures.used_bytes) / static_cast<double>(figures.planned_bytes) -
             1),
      static_cast<double>(kDriverBytes) / 1e9, plan.mode, plan.part_tokens);
}

Json bound_json(double bound, const Rate& rate) {
  if (bound <= 0) return nullptr;
  return {{"tokens_per_second", bound}, {"share", rate.median / bound}};
}

void print_json(const Figures& figures, const BenchOptions& options, const LoadedModel& loaded,
                const char* prompt_kind) {
  const ModelSpec& spec = loaded.description.spec;
  Json prefill = Json::array();
  for (const PrefillRow& row : figures.prefill) {
    prefill.push_back({{"prefix", row.prefix},
                       {"tokens", row.tokens},
                       {"tokens_per_second", to_json(row.rate)},
                       {"bound", bound_json(row.bound, row.rate)}});
  }
  const Json report = {
      {"model", loaded.folder.filename().string()},
      {"layers", spec.layers.size()},
      {"expert_bits", options.model.expert_bits},
      {"threads", loaded.pool->size()},
      {"backend", std::string(loaded.ops->name())},
      {"mode", loaded.plan.mode},
      {"prompts", prompt_kind},
      {"repeat", options.repeat},
      {"prefill", prefill},
      {"decode",
       {{"tokens", options.generate},
        {"given", prompt_kind},
        {"tokens_per_second", to_json(figures.decode)},
        {"bound", bound_json(figures.decode_bound, figures.decode)},
        {"bytes_per_token", decode_weight_bytes(spec, bytes_per_weight(loaded.types))}}},
      {"resident_experts", loaded.plan.resident_experts},
      {"streamed_bytes_per_pass", loaded.plan.streamed_bytes},
      {"vram_planned_bytes", figures.planned_bytes},
      {"vram_allocated_bytes", figures.used_bytes},
      {"memory_read_bytes_per_second", figures.machine.ram},
      {"link_bytes_per_second", figures.machine.link},
      {"vram_bytes_per_second", figures.machine.vram},
      {"operations_per_second", figures.machine.operations}};
  // A folder's name may be any bytes.
  fmt::print("{}\n", report.dump(-1, ' ', false, Json::error_handler_t::replace));
}

// Tokens of the longest sequence that is measured.
std::int64_t context_needed(const BenchOptions& options) {
  return std::max({options.prefix + longest(options) + 1, kDecodePrompt + options.generate,
                   std::min(longest(options), kWarmUpPrompt) + kWarmUpTokens});
}

// With prompt lengths and room for them.
BenchOptions completed(BenchOptions options) {
  const std::int64_t context =
      read_model_description(find_model(options.model.model)).spec.context_length;
  if (options.prompt_tokens.empty()) {
    const std::int64_t room = std::max<std::int64_t>(context - options.prefix - 1, 1);
    options.prompt_tokens = {std::min<std::int64_t>(512, room)};
    if (room > 512) options.prompt_tokens.push_back(std::min<std::int64_t>(2048, room));
  }
  if (context_needed(options) > context) {
    throw Error(ErrorCode::InvalidArgument,
                fmt::format("bench: {} tokens of prefix, prompt and answer, the model was made for "
                            "{}; choose a shorter --prompt-tokens, --prefix or --generate",
                            context_needed(options), context));
  }
  options.model.measure = true;
  if (options.model.context_length == 0) options.model.context_length = context_needed(options);
  return options;
}

int run_bench(const BenchOptions& asked) {
  install_interrupt_handler();
  const BenchOptions options = completed(asked);
  PromptSource prompts(options);
  LoadedModel loaded = load_model_with_bar(options.model, interrupt_flag());
  const Figures figures = measure(options, loaded, prompts);
  if (!options.json) {
    fmt::print("{}, {} layers, {}, prompts of {}, decode given tokens of the same, median of {}\n",
               loaded.folder.filename().string(), loaded.description.spec.layers.size(),
               loaded.ops->name(), prompts.kind(), options.repeat);
    print_table(figures, loaded);
  } else {
    print_json(figures, options, loaded, prompts.kind());
  }
  return kDone;
}

}  // namespace

void declare_bench(CLI::App& command, std::function<int()>& run) {
  auto options = std::make_shared<BenchOptions>();
  declare_model_options(command, options->model);
  add_threads_option(command, options->model.threads);
  command.add_option("--prompt-tokens", options->prompt_tokens, "prompt lengths to measure")
      ->check(at_least(1))
      ->delimiter(',')
      ->default_str("512,2048");
  command
      .add_option("--prefix", options->prefix,
                  "measure prompts on top of so many tokens that are in the cache already")
      ->check(at_least(0));
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
