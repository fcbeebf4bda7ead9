// krasis trace: what a model computes for given token ids, as a safetensors file.
#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <memory>

#include "app/command.h"
#include "app/device_choice.h"
#include "app/model_options.h"
#include "base/error.h"
#include "base/file.h"
#include "model/trace.h"

namespace krasis {
namespace {

struct TraceOptions {
  ModelOptions model;
  std::string ids, out, weights = "bf16", kv_type = "f32";
};

DType kv_type_named(const std::string& name) {
  if (name == "f32") return DType::F32;
  return name == "bf16" ? DType::BF16 : DType::F8E4M3;
}

// Before anything is computed.
void check_output(const std::filesystem::path& file) {
  const auto folder = std::filesystem::absolute(file).parent_path();
  std::error_code failed;
  if (std::filesystem::is_directory(folder, failed)) return;
  throw Error(ErrorCode::NotFound,
              fmt::format("trace: --out {}: there is no folder {}; make it first", file.string(),
                          folder.string()));
}

int run_trace(const TraceOptions& options) {
  check_output(options.out);
  install_interrupt_handler();
  const auto ids = parse_token_ids(read_file(options.ids));
  ModelOptions model = options.model;
  set_weights(model, options.weights);
  model.cache = false;  // a comparison leaves nothing on the disk
  // All tokens in one step, with all their logits.
  model.prompt_chunk = model.logit_rows =
      std::clamp<std::int64_t>(static_cast<std::int64_t>(ids.size()), 1, 65536);
  model.kv_type = kv_type_named(options.kv_type);
  LoadedModel loaded = load_model_with_bar(model, interrupt_flag());
  write_trace(trace_prompt(*loaded.model, ids, kv_type_named(options.kv_type)), options.out);
  fmt::print("{}: {} tokens, {} layers, weights {}\n", options.out, ids.size(),
             loaded.description.spec.layers.size(), options.weights);
  return kDone;
}

}  // namespace

void declare_trace(CLI::App& command, std::function<int()>& run) {
  auto options = std::make_shared<TraceOptions>();
  add_model_option(command, options->model.model);
  command.add_option("--ids", options->ids, "file of token ids with white space between")
      ->required();
  command.add_option("--out", options->out, "safetensors file to write")->required();
  command.add_option("--weights", options->weights, "bf16 (as stored), int8 or int4")
      ->check(CLI::IsMember({"bf16", "int8", "int4"}))
      ->capture_default_str();
  command.add_option("--kv-dtype", options->kv_type, "key-value cache: f32, bf16 or fp8_e4m3")
      ->check(CLI::IsMember({"f32", "bf16", "fp8_e4m3"}))
      ->capture_default_str();
  declare_device_options(command, options->model.device);
  add_force_option(command, options->model.force_load);
  add_threads_option(command, options->model.threads);
  run = [options] { return run_trace(*options); };
}

}  // namespace krasis
