// The options every command that loads a model shares, and the loading itself.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "app/expert_memory.h"
#include "base/cancel.h"
#include "base/thread_pool.h"
#include "budget/rates.h"
#include "engine/engine.h"
#include "model/model.h"
#include "ops/ops.h"
#include "quant/quantize.h"
#include "quant/tiles.h"
#include "weights/expert_store.h"
#include "weights/tensor_source.h"

namespace krasis {

struct DeviceSelection {
  std::string gpus = "auto";         // auto, none, or the number of one
  std::size_t vram_limit_bytes = 0;  // 0: all
  std::size_t vram_reserve_bytes = 0;
  std::string expert_divisor = "auto";  // auto, 1, a number of groups, -1 or 0
  std::int64_t prompt_threshold = -1;   // ExpertPlacement
};

struct ModelOptions {
  std::string model;    // folder or name (config/model_location.h)
  int expert_bits = 4;  // 4, 8, or 16: as the checkpoint has them
  int group = 0;        // columns that share a scale; 0: the usual one for the bits
  ScaleSearch search = ScaleSearch::LeastSquareError;
  DenseFormats dense{.attention = DenseFormat::AsStored,
                     .shared_expert = DenseFormat::Int8,
                     .dense_mlp = DenseFormat::Int8,
                     .lm_head = DenseFormat::Int8};
  int threads = 0;              // 0: one a physical core
  bool force_load = false;      // although memory looks too small
  bool dummy = false;           // made-up weights, from config.json alone
  std::int64_t layers = 0;      // the first so many only; 0: all (dummy weights only)
  DType kv_type = DType::BF16;  // of the key-value cache
  DeviceSelection device;
  bool measure = false;  // all of LoadedModel::rates
  bool cache = true;     // use and build the expert cache; else tiles are made in memory

  // What will run on it, so that its memory can be counted.
  std::int64_t context_length = 0;  // of one sequence; 0: the model's own, as memory allows
  std::int64_t max_sequences = 1;
  std::int64_t prompt_chunk = 0;  // tokens of a pass; 0: what suits the device
  std::int64_t logit_rows = 0;    // of a step, at most; 0: one a sequence
};

// Declare one option each, alike on every command that has it.
void add_model_option(CLI::App& command, std::string& model);  // MODEL or --model-path
void add_group_option(CLI::App& command, int& group);          // 0 stays if it is not given
void add_kv_option(CLI::App& command, DType& kv_type);         // bf16 or fp8_e4m3
void add_threads_option(CLI::App& command, int& threads);
void add_context_option(CLI::App& command, std::int64_t& length);
void add_force_option(CLI::App& command, bool& force);
void add_concurrency_option(CLI::App& command, std::int64_t& sequences);  // 8 if it is not given

// Declares the model, how its weights are kept and where, --context-length, --force-load,
// --load-format and --layers.
void declare_model_options(CLI::App& command, ModelOptions& options);

// Sets bits and dense formats as `krasis trace` and `krasis perplexity` name them: "bf16"
// everything as stored, "int8" experts and dense INT8, "int4" experts INT4 and dense INT8.
void set_weights(ModelOptions& options, const std::string& name);

// The model's description, with as many layers as the options say. Throws Error(InvalidArgument)
// for options that mean nothing together.
ModelDescription described(const ModelOptions& options);

// A model in memory with everything it stands on; members are destroyed in reverse order.
struct LoadedModel {
  std::filesystem::path folder;
  ModelDescription description;
  std::unique_ptr<TensorSource> source;
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<ExpertStore>
      host_experts;                // in the program's memory, where a device streams them
  std::unique_ptr<Ops> processor;  // that computes some of those
  std::unique_ptr<Ops> ops;
  std::unique_ptr<ExpertStore> experts;  // as the ops want them
  std::unique_ptr<Model> model;
  std::filesystem::path heat_file;       // of the experts; empty: not remembered
  std::unique_ptr<ExpertMemory> memory;  // nullptr: nothing to remember
  DType kv_type = DType::BF16;           // that was asked for
  WeightTypes types;
  Plan plan;
  MachineRates rates;              // measured where something depends on them
  std::int64_t asked_context = 0;  // 0: none

  EngineOptions engine_options() const;  // as planned
};

// Reads the description, chooses the device, refuses what does not fit in memory, builds or reads
// the expert cache and prepares the dense weights. progress(done, total) in bytes, while the
// experts come.
LoadedModel load_model(const ModelOptions& options, const CancelFlag& cancel,
                       const std::function<void(std::uint64_t, std::uint64_t)>& progress = {});

// load_model with a bar on the terminal and one line that says what was loaded.
LoadedModel load_model_with_bar(const ModelOptions& options, const CancelFlag& cancel);

// Raised by Ctrl-C and SIGTERM once installed; a second signal ends the program at once.
CancelFlag& interrupt_flag();
void install_interrupt_handler();

}  // namespace krasis
