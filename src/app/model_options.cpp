#include "app/model_options.h"

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fmt/format.h>

#include "app/command.h"
#include "app/device_choice.h"
#include "app/progress_bar.h"
#include "base/log.h"
#include "budget/device_bytes.h"
#include "config/home.h"
#include "config/model_location.h"
#include "cpu/cpu_ops.h"
#include "engine/cache_plan.h"
#include "weights/expert_cache.h"
#include "weights/plain_experts.h"
#include "weights/resident_experts.h"

namespace krasis {
namespace {

// Above this share of the free memory a model is refused: the rest of the system needs some.
constexpr double kMemoryShare = 0.95;

void add_format_option(CLI::App& command, const std::string& name, DenseFormat& format,
                       const std::string& what) {
  static const std::map<std::string, DenseFormat> kFormats = {{"bf16", DenseFormat::AsStored},
                                                              {"int8", DenseFormat::Int8}};
  const std::string standard = format == DenseFormat::Int8 ? "int8" : "bf16";
  command
      .add_option(name, format, what + ": bf16 (as stored) or int8; " + standard + " if not given")
      ->transform(CLI::Transformer(kFormats))
      ->type_name("TYPE");
}

ModelDescription describe(const ModelOptions& options, const std::filesystem::path& folder) {
  ModelDescription description = read_model_description(folder);
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

void refuse_too_large(const ModelOptions& options, std::uint64_t expert_bytes) {
  const std::size_t free_bytes = available_memory_bytes();
  if (options.force_load || free_bytes == 0) return;
  if (static_cast<double>(expert_bytes) <= kMemoryShare * static_cast<double>(free_bytes)) return;
  throw Error(
      ErrorCode::OutOfMemory,
      fmt::format("memory: the experts need {:.1f} GB and {:.1f} GB are free; close other "
                  "programs, use --cpu-expert-bits 4, or insist with --force-load",
                  static_cast<double>(expert_bytes) / 1e9, static_cast<double>(free_bytes) / 1e9));
}

std::unique_ptr<ExpertStore> load_experts(const ModelOptions& options, LoadedModel& loaded,
                                          const TileOptions& tiles) {
  const ModelSpec& spec = loaded.description.spec;
  if (options.expert_bits == 16) return make_plain_experts(loaded.description, *loaded.source);
  const ExpertCachePlan plan = plan_expert_cache(spec, tiles.type);
  if (plan.layers.empty()) return nullptr;
  refuse_too_large(options, plan.arena_bytes);
  if (options.dummy) return make_dummy_tile_experts(spec, tiles);
  if (!options.cache) return make_tile_experts(loaded.description, *loaded.source, tiles);
  OpenedExperts opened =
      open_expert_cache(loaded.description, *loaded.source,
                        {.model = loaded.folder, .fallback = krasis_home() / "cache"}, tiles);
  for (const std::string& note : {opened.cache.folder_note, opened.cache.rebuild_note})
    if (!note.empty()) log::info(note);
  return std::move(opened.experts);
}

std::uint64_t expert_bytes(const ModelOptions& options, const ModelSpec& spec,
                           const TileOptions& tiles) {
  if (options.expert_bits == 16) return expert_weight_bytes(spec, {});
  return plan_expert_cache(spec, tiles.type).arena_bytes;
}

void load_on_processor(const ModelOptions& options, std::unique_ptr<ExpertStore> experts,
                       LoadedModel& loaded) {
  loaded.ops = cpu::make_cpu_ops(*loaded.pool);
  loaded.experts = std::move(experts);
  loaded.model = std::make_unique<Model>(loaded.description, *loaded.source, loaded.experts.get(),
                                         options.dense, *loaded.ops);
}

// False if a device that was not asked for by number turns out not to do.
bool load_on_device(const ModelOptions& options, const cuda::DeviceOptions& device,
                    const ExpertStore* experts, const Progress& progress, const CancelFlag& cancel,
                    LoadedModel& loaded) {
  try {
    loaded.ops = cuda::make_cuda_ops(device);
    if (experts != nullptr) {
      loaded.experts = make_resident_experts(loaded.description.spec, *experts,
                                             loaded.ops->memory(), progress, &cancel);
    }
    loaded.model = std::make_unique<Model>(loaded.description, *loaded.source, loaded.experts.get(),
                                           options.dense, *loaded.ops);
    return true;
  } catch (const Error& error) {
    const bool machine =
        error.code() == ErrorCode::Device || error.code() == ErrorCode::OutOfMemory;
    if (!machine || options.device.gpus != "auto") throw;
    log::info(fmt::format("devices: running on the processor: {}", error.what()));
  }
  loaded.experts.reset();
  loaded.ops.reset();
  return false;
}

void raise_interrupt(int /*signal*/) {
  if (interrupt_flag().raised()) std::_Exit(kFailed);  // asked twice: at once
  interrupt_flag().raise();
}

}  // namespace

void add_group_option(CLI::App& command, int& group) {
  command.add_option("--expert-group", group, "columns that share an expert weight's scale")
      ->check(CLI::IsMember({32, 64, 128}))
      ->default_str("128 with 4 bits, 32 with 8");
}

void add_kv_option(CLI::App& command, DType& kv_type) {
  static const std::map<std::string, DType> kTypes = {{"bf16", DType::BF16},
                                                      {"fp8_e4m3", DType::F8E4M3}};
  command
      .add_option("--kv-dtype", kv_type,
                  "key-value cache: bf16, or fp8_e4m3, which takes half the memory; bf16 if not "
                  "given")
      ->transform(CLI::Transformer(kTypes))
      ->type_name("TYPE");
}

void declare_model_options(CLI::App& command, ModelOptions& options, bool positional) {
  command
      .add_option(positional ? "model,--model-path" : "--model-path", options.model,
                  "model folder, or a name in $KRASIS_HOME/models")
      ->required();
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
  command
      .add_option("--krasis-threads,--threads", options.threads,
                  "threads that compute; 0: one for each physical core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  declare_device_options(command, options.device);
  command.add_flag("--force-load", options.force_load, "load although memory looks too small");
  static const std::map<std::string, bool> kLoadFormats = {{"auto", false}, {"dummy", true}};
  command
      .add_option("--load-format", options.dummy,
                  "auto, or dummy: made-up weights from config.json alone")
      ->transform(CLI::Transformer(kLoadFormats))
      ->type_name("FORMAT");
  command
      .add_option("--layers", options.layers, "with dummy weights: only the first so many layers")
      ->check(CLI::NonNegativeNumber);
}

void set_weights(ModelOptions& options, const std::string& name) {
  const DenseFormat dense = name == "bf16" ? DenseFormat::AsStored : DenseFormat::Int8;
  options.expert_bits = name == "bf16" ? 16 : name == "int8" ? 8 : 4;
  options.dense = {dense, dense, dense, dense};
}

LoadedModel load_model(const ModelOptions& options, const CancelFlag& cancel,
                       const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  LoadedModel loaded;
  loaded.folder = find_model(options.model);
  loaded.description = describe(options, loaded.folder);
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
  const auto device =
      choose_device(options.device, device_need(options, spec, expert_bytes(options, spec, tiles)));
  std::unique_ptr<ExpertStore> experts = load_experts(options, loaded, tiles);
  cancel.check("model");
  loaded.pool = std::make_unique<ThreadPool>(ThreadPoolOptions{.threads = options.threads});
  if (!device || !load_on_device(options, *device, experts.get(), tiles.progress, cancel, loaded))
    load_on_processor(options, std::move(experts), loaded);
  loaded.kv_type = options.kv_type;
  loaded.prompt_chunk = prompt_chunk_for(loaded.ops->memory());
  return loaded;
}

LoadedModel load_model_with_bar(const ModelOptions& options, const CancelFlag& cancel) {
  const auto start = std::chrono::steady_clock::now();
  LoadedModel loaded = [&] {
    ProgressBar bar("loading experts", "bytes");
    return load_model(options, cancel,
                      [&](std::uint64_t done, std::uint64_t total) { bar.update(done, total); });
  }();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const std::size_t bytes = loaded.experts == nullptr ? 0 : loaded.experts->bytes();
  log::info(fmt::format("model: {} ({}, {} layers) in {:.1f} s: {:.2f} GB of experts in {}, on {}",
                        loaded.folder.filename().string(), loaded.description.spec.architecture,
                        loaded.description.spec.layers.size(), seconds.count(),
                        static_cast<double>(bytes) / 1e9,
                        loaded.ops->memory().is_host() ? "RAM" : "VRAM", loaded.ops->name()));
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
