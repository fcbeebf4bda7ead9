#include "app/device_choice.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

#include "app/option_checks.h"
#include "base/log.h"
#include "engine/cache_plan.h"
#include "model/state.h"
#include "residency/device_sizes.h"
#include "weights/cache_plan.h"

namespace krasis {
namespace {

// Of the driver's share (budget/plan.h), what is taken when a device's free memory is read.
constexpr std::size_t kContextBytes = std::size_t{448} << 20;

std::optional<std::int64_t> whole_number(const std::string& text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// The number of a device, or nothing if the words are no number.
std::optional<int> device_number(const std::string& text) {
  const auto number = whole_number(text);
  if (!number || *number < 0 || *number > 1 << 20) return std::nullopt;
  return static_cast<int>(*number);
}

std::string check_selection(const std::string& text) {
  if (text == "auto" || text == "none" || device_number(text)) return "";
  if (text.find(',') != std::string::npos)
    return "\"" + text + "\" names several GPUs, a model runs on one; give one number";
  return "\"" + text + "\" is not auto, none or the number of one GPU";
}

std::string check_count(const std::string& text) {
  if (whole_number(text) == 1) return "";
  return "is \"" + text + "\", but a model runs on one GPU; choose it with --selected-gpus";
}

std::string refuse_partition(const std::string& text) {
  return "is \"" + text + "\", but all layers run on one GPU; leave it out";
}

std::string check_divisor(const std::string& text) {
  const auto number = whole_number(text);
  if (text == "auto" || (number && *number >= -1 && *number <= 1 << 20)) return "";
  return "\"" + text + "\" is not auto, 1, a number of groups, -1 or 0";
}

DeviceChoice choice_of(const DeviceSelection& selection, const ModelSpec& spec,
                       const PlanRequest& request, const cuda::Device& device) {
  DeviceChoice choice = {
      .options = {.index = device.index, .vram_limit_bytes = selection.vram_limit_bytes},
      .request = request,
      .plan = {}};
  choice.request.device = device_room(selection, device.total_bytes);
  const std::uint64_t free = device.free_bytes + kContextBytes;
  choice.request.device->bytes =
      std::min(choice.request.device->bytes,
               free - std::min<std::uint64_t>(free, selection.vram_reserve_bytes));
  choice.plan = make_plan(spec, choice.request);
  return choice;
}

DeviceChoice named_device(const DeviceSelection& selection, const ModelSpec& spec,
                          const PlanRequest& request, int index) {
  const cuda::Devices devices = cuda::list_devices();
  if (const std::string problem = devices.problem_with(index); !problem.empty())
    throw Error(ErrorCode::Device, "cuda: " + problem);
  return choice_of(selection, spec, request, devices.found[static_cast<std::size_t>(index)]);
}

void refuse_device_settings(const DeviceSelection& selection) {
  const DeviceSelection usual;
  const char* given = nullptr;
  if (selection.vram_limit_bytes != usual.vram_limit_bytes) given = "--vram-limit";
  if (selection.vram_reserve_bytes != usual.vram_reserve_bytes) given = "--vram-reserve";
  if (selection.expert_divisor != usual.expert_divisor) given = "--expert-divisor";
  if (selection.prompt_threshold != usual.prompt_threshold) given = "--gpu-prefill-threshold";
  if (given == nullptr) return;
  throw Error(ErrorCode::InvalidArgument,
              fmt::format("devices: {} means nothing with --selected-gpus none; leave out one of "
                          "the two",
                          given));
}

}  // namespace

void declare_device_options(CLI::App& command, DeviceSelection& selection) {
  command
      .add_option("--selected-gpus", selection.gpus,
                  "GPU to run on: its number, none, or auto for the first one that is large enough")
      ->check(CLI::Validator(check_selection, "GPU"))
      ->capture_default_str();
  const auto nothing = [](const std::string& /*text*/) {};
  command.add_option_function<std::string>("--num-gpus", nothing, "1: a model runs on one GPU")
      ->check(CLI::Validator(check_count, "1"));
  command
      .add_option_function<std::string>("--pp-partition", nothing,
                                        "refused: layers are not divided among GPUs")
      ->check(CLI::Validator(refuse_partition, "NONE"));
  command
      .add_option("--vram-limit", selection.vram_limit_bytes,
                  "most GPU memory to use, such as 16GiB; 0: all")
      ->transform(size_of_at_least(0));
  command
      .add_option("--vram-reserve", selection.vram_reserve_bytes,
                  "GPU memory to leave free for others, such as 1GiB")
      ->transform(size_of_at_least(0));
  command
      .add_option("--expert-divisor", selection.expert_divisor,
                  "experts in GPU memory: auto; 1 all; N as N groups of layers, one after another; "
                  "-1 only those that a prompt chose; 0 one layer at a time")
      ->check(CLI::Validator(check_divisor, "MODE"))
      ->capture_default_str();
  command
      .add_option("--gpu-prefill-threshold", selection.prompt_threshold,
                  "prompts of fewer tokens have no expert copied to the GPU, longer ones none "
                  "computed on the processor; default: by the measured rates")
      ->check(at_least(0));
}

WeightTypes weight_types(const ModelOptions& options, const ModelSpec& spec,
                         std::int64_t stored_bytes) {
  const auto int8 = [](DenseFormat format) { return format == DenseFormat::Int8; };
  WeightTypes types = {.attention_int8 = int8(options.dense.attention),
                       .shared_expert_int8 = int8(options.dense.shared_expert),
                       .dense_mlp_int8 = int8(options.dense.dense_mlp),
                       .lm_head_int8 = int8(options.dense.lm_head),
                       .experts = std::nullopt,
                       .stored_bytes = stored_bytes};
  if (options.expert_bits != 16)
    types.experts = expert_tile_type(spec, options.expert_bits, options.group);
  return types;
}

PlanRequest plan_request(const ModelOptions& options, const ModelSpec& spec,
                         const WeightTypes& types) {
  PlanRequest request;
  request.weights = types;
  if (options.device.expert_divisor != "auto")
    request.expert_divisor = whole_number(options.device.expert_divisor);
  request.prompt_threshold = options.device.prompt_threshold;
  request.ram_bytes = available_memory_bytes();
  request.force = options.force_load;
  request.maps_experts = !options.dummy && spec.expert_storage != ExpertStorage::PackedInt4;
  request.context_length = options.context_length;
  request.max_sequences = options.max_sequences;
  request.prompt_chunk = options.prompt_chunk;
  request.logit_rows = options.logit_rows;
  const StateSize one = {
      .pages = 1, .page_tokens = request.page_tokens, .slots = 1, .kv_type = options.kv_type};
  request.page_bytes = page_bytes(spec, one);
  request.slot_bytes = slot_bytes(spec);
  return request;
}

DeviceRoom device_room(const DeviceSelection& selection, std::uint64_t bytes) {
  const std::uint64_t limit = selection.vram_limit_bytes;
  const std::uint64_t whole = limit == 0 ? bytes : std::min(limit, bytes);
  return {.bytes = whole - std::min<std::uint64_t>(whole, selection.vram_reserve_bytes),
          .fixed_bytes = fixed_device_bytes(whole)};
}

std::optional<DeviceChoice> choose_device(const DeviceSelection& selection, const ModelSpec& spec,
                                          const PlanRequest& request) {
  if (selection.gpus == "none") {
    refuse_device_settings(selection);
    return std::nullopt;
  }
  if (const auto number = device_number(selection.gpus))
    return named_device(selection, spec, request, *number);
  const cuda::Devices devices = cuda::list_devices();
  std::string reason = devices.problem;
  for (const cuda::Device& device : devices.found) {
    std::string problem = device.problem;
    if (problem.empty()) {
      try {
        return choice_of(selection, spec, request, device);
      } catch (const Error& error) {
        if (error.code() != ErrorCode::OutOfMemory) throw;
        problem = fmt::format("GPU {} ({}): {}", device.index, device.name, error.what());
      }
    }
    if (reason.empty()) reason = problem;
  }
  log::info("devices: running on the processor: " + reason);
  return std::nullopt;
}

}  // namespace krasis
