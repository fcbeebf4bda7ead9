#include "app/model_options.h"

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fmt/format.h>

#include "app/command.h"
#include "app/device_choice.h"
#include "app/option_checks.h"
#include "app/progress_bar.h"
#include "base/log.h"
#include "budget/remedy.h"
#include "config/home.h"
#include "config/model_location.h"
#include "cpu/cpu_ops.h"
#include "engine/cache_plan.h"
#include "tune/device_rates.h"
#include "tune/expert_rates.h"
#include "tune/memory_rate.h"
#include "weights/expert_cache.h"
#include "weights/expert_tensors.h"
#include "weights/placed_experts.h"
#include "weights/plain_experts.h"
#include "weights/resident_experts.h"

namespace krasis {
namespace {

// Longer than a GPU takes for a few layers in which there is nothing for the processor, as waking a
// sleeping team costs more than a layer.
constexpr int kSpinBesideDeviceUs = 2000;

// More than caches hold.
constexpr std::size_t kReadBytes = std::size_t{1} << 29;
constexpr int kReadPasses = 6;

void add_format_option(CLI::App& command, const std::string& name, DenseFormat& format,
                       const std::string& what) {
  const std::string standard = format == DenseFormat::Int8 ? "int8" : "bf16";
  command
      .add_option_function<std::string>(
          name,
          [&format](const std::string& type) {
            format = type == "int8" ? DenseFormat::Int8 : DenseFormat::AsStored;
          },
          what + ": bf16 (as stored) or int8")
      ->check(CLI::IsMember({"bf16", "int8"}))
      ->default_str(standard);
}

std::unique_ptr<ExpertStore> load_experts(const ModelOptions& options, LoadedModel& loaded,
                                          const TileOptions& tiles) {
  const ModelSpec& spec = loaded.description.spec;
  if (options.expert_bits == 16) return make_plain_experts(loaded.description, *loaded.source);
  const ExpertCachePlan plan = plan_expert_cache(spec, tiles.type);
  if (plan.layers.empty()) return nullptr;
  if (options.dummy) return make_dummy_tile_experts(spec, tiles);
  if (!options.cache) return make_tile_experts(loaded.description, *loaded.source, tiles);
  OpenedExperts opened =
      open_expert_cache(loaded.description, *loaded.source,
                        {.model = loaded.folder, .fallback = krasis_home() / "cache"}, tiles);
  for (const std::string& note : {opened.cache.folder_note, opened.cache.rebuild_note})
    if (!note.empty()) log::info(note);
  loaded.heat_file = opened.cache.file.parent_path() / "experts.heat";
  return std::move(opened.experts);
}

// Bytes of a number that is kept as the checkpoint has it; all dense tensors are taken to be like
// the embedding.
std::int64_t stored_bytes(const LoadedModel& loaded) {
  const ModelSpec& spec = loaded.description.spec;
  const auto view = loaded.source->find(
      tensor_name(*loaded.description.architecture, Role::Embedding), {spec.vocab, spec.hidden});
  return view ? static_cast<std::int64_t>(size_of(view->dtype())) : 2;
}

void load_on_processor(const ModelOptions& options, const PlanRequest& request,
                       LoadedModel& loaded) {
  loaded.plan = make_plan(loaded.description.spec, request);
  for (const std::string& note : loaded.plan.notes) log::info("budget: " + note);
  loaded.ops = cpu::make_cpu_ops(*loaded.pool);
  loaded.experts = std::move(loaded.host_experts);
  loaded.model = std::make_unique<Model>(loaded.description, *loaded.source, loaded.experts.get(),
                                         options.dense, *loaded.ops);
}

// While there is room for it.
void measure_rates(const ModelOptions& options, LoadedModel& loaded) {
  if (!options.measure && loaded.plan.all_resident) return;
  loaded.rates.link = cuda::measure_link_rate(*loaded.ops);
  loaded.rates.ram = measure_read_rate(*loaded.pool, kReadBytes, kReadPasses);
  if (!options.measure) return;
  loaded.rates.vram = measure_copy_rate(*loaded.ops);
  loaded.rates.operations = measure_product_rate(*loaded.ops);
}

// Experts that stay in the program's memory.
void place_experts(LoadedModel& loaded) {
  const ModelSpec& spec = loaded.description.spec;
  ExpertPlacement placement = loaded.plan.placement;
  placement.link_rate = loaded.rates.link;
  loaded.processor = cpu::make_cpu_ops(*loaded.pool);
  const std::vector<ExpertMatrices> layers = sparse_expert_layers(spec, *loaded.host_experts);
  const ExpertRates processor = measure_expert_rates(*loaded.processor, layers.front());
  placement.processor_rate = processor.bytes;
  placement.processor_token_seconds = processor.token_seconds;
  // Whatever is faster has shown what the memory gives; a short reading loop may be disturbed.
  loaded.rates.ram = std::max(loaded.rates.ram, processor.bytes);
  placement.memory_rate = loaded.rates.ram;
  loaded.experts = make_placed_experts(
      spec, cuda::place_experts(*loaded.ops, layers, placement, *loaded.processor));
}

void load_as_planned(const ModelOptions& options, const cuda::DeviceOptions& device,
                     const Progress& progress, const CancelFlag& cancel, LoadedModel& loaded) {
  loaded.ops = cuda::make_cuda_ops(device);
  measure_rates(options, loaded);
  if (loaded.host_experts != nullptr && loaded.plan.all_resident) {
    loaded.experts = make_resident_experts(loaded.description.spec, *loaded.host_experts,
                                           loaded.ops->memory(), progress, &cancel);
  } else if (loaded.host_experts != nullptr) {
    place_experts(loaded);
  }
  loaded.model = std::make_unique<Model>(loaded.description, *loaded.source, loaded.experts.get(),
                                         options.dense, *loaded.ops, loaded.plan.part_tokens);
  loaded.model->reserve(loaded.plan.workspace_bytes);
  if (loaded.plan.all_resident) loaded.host_experts.reset();
}

void remember_experts(LoadedModel& loaded) {
  if (loaded.heat_file.empty() || loaded.plan.all_resident || loaded.plan.resident_experts == 0)
    return;
  std::vector<std::int64_t> experts;
  for (const SparseLayer& layer : sparse_layers(loaded.description.spec))
    experts.push_back(layer.experts);
  loaded.memory = std::make_unique<ExpertMemory>(*loaded.ops, loaded.heat_file, std::move(experts));
}

void unload(LoadedModel& loaded) {
  loaded.memory.reset();
  loaded.model.reset();
  loaded.experts.reset();
  loaded.ops.reset();
  loaded.processor.reset();
}

// Where less memory is found than was counted, plans again with less. False if a device that was
// not asked for by number turns out not to do.
bool load_on_device(const ModelOptions& options, DeviceChoice choice, const Progress& progress,
                    const CancelFlag& cancel, LoadedModel& loaded) {
  const bool named = options.device.gpus != "auto";
  for (;;) {
    for (const std::string& note : choice.plan.notes) log::info("budget: " + note);
    loaded.plan = choice.plan;
    try {
      load_as_planned(options, choice.options, progress, cancel, loaded);
      remember_experts(loaded);
      return true;
    } catch (const Error& error) {
      unload(loaded);
      const bool memory = error.code() == ErrorCode::OutOfMemory;
      std::optional<Plan> smaller;
      if (memory && choice.request.device) {
        choice.request.device->bytes = choice.request.device->bytes / 8 * 7;
        smaller = plan_if_it_fits(loaded.description.spec, choice.request);
      }
      if (!smaller) {
        if (named || (!memory && error.code() != ErrorCode::Device)) throw;
        log::info(fmt::format("devices: running on the processor: {}", error.what()));
        return false;
      }
      log::info(fmt::format("budget: planning again with {:.1f} GB of VRAM: {}",
                            static_cast<double>(choice.request.device->bytes) / 1e9, error.what()));
      choice.plan = *std::move(smaller);
    }
  }
}

std::string residency_line(const LoadedModel& loaded) {
  const Plan& plan = loaded.plan;
  if (plan.experts == 0) return "no routed experts";
  const auto bytes = expert_bytes(loaded.description.spec, loaded.types);
  const double gigabytes = static_cast<double>(bytes.all) / 1e9;
  if (!plan.on_device) return fmt::format("{:.2f} GB of experts in RAM", gigabytes);
  if (plan.all_resident) return fmt::format("{:.2f} GB of experts in VRAM", gigabytes);
  return fmt::format("{:.2f} GB of experts in RAM, {}, {} of {} in VRAM", gigabytes, plan.mode,
                     plan.resident_experts, plan.experts);
}

void raise_interrupt(int /*signal*/) {
  if (interrupt_flag().raised()) std::_Exit(kFailed);  // asked twice: at once
  interrupt_flag().raise();
}

}  // namespace

void add_model_option(CLI::App& command, std::string& model) {
  command.add_option("model,--model-path", model, "model folder, or a name in $KRASIS_HOME/models")
      ->required();
}

void add_group_option(CLI::App& command, int& group) {
  command.add_option("--expert-group", group, "columns that share an expert weight's scale")
      ->check(CLI::IsMember({32, 64, 128}))
      ->default_str("128 with 4 bits, 32 with 8");
}

void add_kv_option(CLI::App& command, DType& kv_type) {
  command
      .add_option_function<std::string>(
          "--kv-dtype",
          [&kv_type](const std::string& name) {
            kv_type = name == "bf16" ? DType::BF16 : DType::F8E4M3;
          },
          "key-value cache: bf16, or fp8_e4m3, which takes half the memory")
      ->check(CLI::IsMember({"bf16", "fp8_e4m3"}))
      ->default_str("bf16");
}

void add_threads_option(CLI::App& command, int& threads) {
  command
      .add_option("--krasis-threads,--threads", threads,
                  "threads that compute; 0: one for each physical core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
}

void add_context_option(CLI::App& command, std::int64_t& length) {
  command
      .add_option("--context-length", length,
                  "tokens of prompt and answer together; 0: the model's own, as memory allows")
      ->check(at_least(0))
      ->capture_default_str();
}

void add_force_option(CLI::App& command, bool& force) {
  command.add_flag("--force-load", force, "go on although RAM looks too small");
}

void add_concurrency_option(CLI::App& command, std::int64_t& sequences) {
  sequences = EngineOptions{}.max_sequences;
  command
      .add_option("--max-concurrent", sequences, "requests computed at the same time; others wait")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
}

void declare_model_options(CLI::App& command, ModelOptions& options) {
  add_model_option(command, options.model);
  command
      .add_option("--cpu-expert-bits", options.expert_bits,
                  "routed experts on the CPU: 4, 8, or 16 for the checkpoint's own numbers")
      ->check(CLI::IsMember({4, 8, 16}))
      ->capture_default_str();
  add_group_option(command, options.group);
  add_format_option(command, "--attention-quant", options.dense.attention, "attention weights");
  add_format_option(command, "--shared-expert-quant", options.dense.shared_expert,
                    "shared experts' weights");
  add_format_option(command, "--dense-mlp-quant", options.dense.dense_mlp, "dense MLP weights");
  add_format_option(command, "--lm-head-quant", options.dense.lm_head, "LM head weights");
  add_kv_option(command, options.kv_type);
  declare_device_options(command, options.device);
  add_context_option(command, options.context_length);
  add_force_option(command, options.force_load);
  command
      .add_option_function<std::string>(
          "--load-format",
          [&options](const std::string& source) { options.dummy = source == "dummy"; },
          "auto, or dummy: made-up weights from config.json alone")
      ->check(CLI::IsMember({"auto", "dummy"}))
      ->default_str("auto");
  command
      .add_option("--layers", options.layers, "with dummy weights: only the first so many layers")
      ->check(at_least(0));
}

void set_weights(ModelOptions& options, const std::string& name) {
  const DenseFormat dense = name == "bf16" ? DenseFormat::AsStored : DenseFormat::Int8;
  options.expert_bits = name == "bf16" ? 16 : name == "int8" ? 8 : 4;
  options.dense = {dense, dense, dense, dense};
  if (options.expert_bits == 16) options.group = 0;
}

ModelDescription described(const ModelOptions& options) {
  if (options.expert_bits == 16 && options.group > 0) {
    throw Error(ErrorCode::InvalidArgument,
                fmt::format("model: --expert-group {} means nothing with experts of 16 bits, which "
                            "have no scales; leave it out",
                            options.group));
  }
  ModelDescription description = read_model_description(find_model(options.model));
  auto& layers = description.spec.layers;
  if (options.layers > 0) {
    if (!options.dummy) {
      throw Error(ErrorCode::InvalidArgument,
                  "model: --layers shortens made-up weights only; add --load-format dummy");
    }
    if (options.layers > static_cast<std::int64_t>(layers.size())) {
      throw Error(ErrorCode::InvalidArgument,
                  fmt::format("model: --layers {} but the model has {}; give fewer", options.layers,
                              layers.size()));
    }
    layers.resize(static_cast<std::size_t>(options.layers));
  }
  return description;
}

LoadedModel load_model(const ModelOptions& options, const CancelFlag& cancel,
                       const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  LoadedModel loaded;
  loaded.asked_context = options.context_length;
  loaded.folder = find_model(options.model);
  loaded.description = described(options);
  loaded.source = options.dummy ? make_dummy_source() : open_checkpoint(loaded.folder);
  const ModelSpec& spec = loaded.description.spec;
  TileOptions tiles;
  if (options.expert_bits != 16)
    tiles.type = expert_tile_type(spec, options.expert_bits, options.group);
  tiles.search = options.search;
  tiles.threads = options.threads;
  tiles.progress = {.advance = progress,
                    .message = [](const std::string& text) { log::info(text); }};
  tiles.cancel = &cancel;
  loaded.types = weight_types(options, spec, stored_bytes(loaded));
  const PlanRequest request = plan_request(options, spec, loaded.types);
  auto device = choose_device(options.device, spec, request);
  if (!device) make_plan(spec, request);  // refused before anything is loaded
  loaded.host_experts = load_experts(options, loaded, tiles);
  cancel.check("model");
  ThreadPoolOptions pool{.threads = options.threads};
  if (device) pool.spin_us = kSpinBesideDeviceUs;
  loaded.pool = std::make_unique<ThreadPool>(pool);
  if (!device || !load_on_device(options, *std::move(device), tiles.progress, cancel, loaded))
    load_on_processor(options, request, loaded);
  loaded.kv_type = options.kv_type;
  return loaded;
}

EngineOptions LoadedModel::engine_options() const {
  return {.context_length = asked_context,
          .max_sequences = plan.sequences,
          .prompt_chunk = plan.pass_tokens,
          .cache_bytes = plan.cache_bytes,
          .kv_type = kv_type};
}

LoadedModel load_model_with_bar(const ModelOptions& options, const CancelFlag& cancel) {
  const auto start = std::chrono::steady_clock::now();
  LoadedModel loaded = [&] {
    ProgressBar bar("loading experts", "bytes");
    return load_model(options, cancel,
                      [&](std::uint64_t done, std::uint64_t total) { bar.update(done, total); });
  }();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  log::info(fmt::format("model: {} ({}, {} layers) in {:.1f} s: {}, on {}",
                        loaded.folder.filename().string(), loaded.description.spec.architecture,
                        loaded.description.spec.layers.size(), seconds.count(),
                        residency_line(loaded), loaded.ops->name()));
  return loaded;
}

CancelFlag& interrupt_flag() {
  static CancelFlag flag;
  return flag;
}

void install_interrupt_handler() {
  interrupt_flag();  // made before a signal can ask for it
  struct sigaction action {};
  action.sa_handler = raise_interrupt;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

}  // namespace krasis
