// The options every command that loads a model shares, and the loading itself.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "base/cancel.h"
#include "base/thread_pool.h"
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
  bool cache = true;  // use and build the expert cache; else tiles are made in memory
};

// Declares --cpu-expert-bits, --attention-quant and the others on a command. `model` as a
// positional where `positional`, as --model-path otherwise.
void declare_model_options(CLI::App& command, ModelOptions& options, bool positional = true);

// Declares --expert-group; 0 stays where it is not given.
void add_group_option(CLI::App& command, int& group);

// Declares --kv-dtype: bf16 or fp8_e4m3.
void add_kv_option(CLI::App& command, DType& kv_type);

// Sets bits and dense formats as `krasis trace` and `krasis perplexity` name them: "bf16"
// everything as stored, "int8" experts and dense INT8, "int4" experts INT4 and dense INT8.
void set_weights(ModelOptions& options, const std::string& name);

// A model in memory with everything it stands on; members are destroyed in reverse order.
struct LoadedModel {
  std::filesystem::path folder;
  ModelDescription description;
  std::unique_ptr<TensorSource> source;
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<Ops> ops;
  std::unique_ptr<ExpertStore> experts;  // in the ops' memory
  std::unique_ptr<Model> model;
  DType kv_type = DType::BF16;      // that was asked for
  std::int64_t prompt_chunk = 512;  // that suits the ops
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
