#include "app/device_choice.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

#include "base/log.h"
#include "budget/device_bytes.h"
#include "model/state.h"

namespace krasis {
namespace {

constexpr std::int64_t kProcessorChunk = 512;
constexpr std::int64_t kSmallChunk = 2048;
constexpr std::int64_t kLargeChunk = 8192;
constexpr std::size_t kLargeMemory = std::size_t{24} << 30;
constexpr std::int64_t kLeastContext = 4096;  // tokens of cache that must fit beside the weights

double gigabytes(std::uint64_t bytes) {
  return static_cast<double>(bytes) / 1e9;
}

// The number of a device, or nothing if the words are no number.
std::optional<int> device_number(const std::string& text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

std::string check_selection(const std::string& text) {
  if (text == "auto" || text == "none" || device_number(text)) return "";
  return "\"" + text + "\" is not auto, none or the number of one GPU";
}

// Why the device cannot hold it; empty if it can.
std::string too_small(const cuda::Device& device, const DeviceSelection& selection,
                      const DeviceNeed& need) {
  const std::size_t limit = selection.vram_limit_bytes;
  const std::size_t room = limit == 0 ? device.free_bytes : std::min(limit, device.free_bytes);
  const std::uint64_t fixed = cuda::fixed_device_bytes(
      limit == 0 ? device.total_bytes : std::min(limit, device.total_bytes));
  const std::uint64_t whole = need.experts + need.dense + need.step + fixed;
  if (whole <= room) return "";
  return fmt::format(
      "GPU {} ({}) has room for {:.1f} GB{}, the model needs {:.1f} GB there: {:.1f} experts, "
      "{:.1f} "
      "other weights, {:.1f} working memory",
      device.index, device.name, gigabytes(room), limit == 0 ? "" : " (--vram-limit)",
      gigabytes(whole), gigabytes(need.experts), gigabytes(need.dense),
      gigabytes(need.step + fixed));
}

cuda::DeviceOptions options_for(const DeviceSelection& selection, int index) {
  return {.index = index, .vram_limit_bytes = selection.vram_limit_bytes};
}

cuda::DeviceOptions named_device(const DeviceSelection& selection, const DeviceNeed& need,
                                 int index) {
  const cuda::Devices devices = cuda::list_devices();
  const auto found = std::ranges::find(devices.found, index, &cuda::Device::index);
  // make_cuda_ops() says what is wrong with a device that is not there or cannot be used.
  if (found != devices.found.end() && found->problem.empty()) {
    if (const std::string problem = too_small(*found, selection, need); !problem.empty()) {
      throw Error(ErrorCode::OutOfMemory,
                  "cuda: " + problem + "; use --selected-gpus none, or fewer bits");
    }
  }
  return options_for(selection, index);
}

}  // namespace

void declare_device_options(CLI::App& command, DeviceSelection& selection) {
  command
      .add_option("--selected-gpus", selection.gpus,
                  "GPU to run on: its number, none, or auto for the first one that is large enough")
      ->check(CLI::Validator(check_selection, "GPU"))
      ->capture_default_str();
  command
      .add_option("--vram-limit", selection.vram_limit_bytes,
                  "most GPU memory to use, such as 16GiB; 0: all")
      ->transform(CLI::AsSizeValue(false));
}

DeviceNeed device_need(const ModelOptions& options, const ModelSpec& spec,
                       std::uint64_t expert_bytes) {
  const auto dense = [](DenseFormat format) {
    return format == DenseFormat::Int8 ? 1 + 2.0 / 128 : 2;
  };
  const WeightBytes weights = {.attention = dense(options.dense.attention),
                               .shared_expert = dense(options.dense.shared_expert),
                               .dense_mlp = dense(options.dense.dense_mlp),
                               .lm_head = dense(options.dense.lm_head)};
  const StateSize size = {.pages = 1, .page_tokens = 64, .slots = 1, .kv_type = options.kv_type};
  const auto context = std::min(spec.context_length, kLeastContext);
  const auto pages = static_cast<std::uint64_t>((context + 63) / 64);
  return {.experts = expert_bytes,
          .dense = dense_weight_bytes(spec, weights),
          .step = pages * page_bytes(spec, size) + slot_bytes(spec) +
                  workspace_bytes(spec, kSmallChunk)};
}

std::optional<cuda::DeviceOptions> choose_device(const DeviceSelection& selection,
                                                 const DeviceNeed& need) {
  if (selection.gpus == "none") return std::nullopt;
  if (const auto number = device_number(selection.gpus))
    return named_device(selection, need, *number);
  const cuda::Devices devices = cuda::list_devices();
  std::string reason = devices.problem;
  if (reason.empty()) reason = devices.found.front().problem;
  if (reason.empty()) reason = too_small(devices.found.front(), selection, need);
  if (reason.empty()) return options_for(selection, devices.found.front().index);
  log::info("devices: running on the processor: " + reason);
  return std::nullopt;
}

std::int64_t prompt_chunk_for(Memory& memory) {
  if (memory.is_host()) return kProcessorChunk;
  return memory.free_bytes() >= kLargeMemory ? kLargeChunk : kSmallChunk;
}

}  // namespace krasis
