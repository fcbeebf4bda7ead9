// krasis plan: what would go where, and how fast it can be, from config.json alone.
#include <fmt/format.h>
#include <memory>

#include "app/command.h"
#include "app/device_choice.h"
#include "app/model_options.h"
#include "app/option_checks.h"
#include "app/plan_report.h"
#include "base/error.h"
#include "config/model_location.h"

namespace krasis {
namespace {

constexpr std::uint64_t kLeastMemory = std::uint64_t{64} << 20;

struct PlanOptions {
  ModelOptions model;
  std::size_t vram_bytes = 0;  // 0: this machine's GPU, if there is one
  std::size_t ram_bytes = 0;   // 0: what is free here, unless another machine's GPU is described
  // A card with 16 GB in a common machine: PCIe 4.0 x16, two channels of DDR4-3200, eight cores
  // with AVX2.
  double link = 25.5, ram = 45, vram = 450;  // GB/s
  double operations = 80, processor = 1;     // TFLOP/s
  bool json = false;
};

// A GPU that is described is no GPU of this machine.
void check_described_device(const PlanOptions& options) {
  if (options.vram_bytes == 0 || options.model.device.gpus == "auto") return;
  throw Error(ErrorCode::InvalidArgument,
              fmt::format("plan: --vram describes a GPU and --selected-gpus {} chooses among this "
                          "machine's, give one of the two",
                          options.model.device.gpus));
}

int run_plan(const PlanOptions& options) {
  check_described_device(options);
  const ModelSpec spec = described(options.model).spec;
  const WeightTypes types = weight_types(options.model, spec);
  PlanRequest request = plan_request(options.model, spec, types);
  if (options.ram_bytes > 0 || options.vram_bytes > 0) request.ram_bytes = options.ram_bytes;
  DeviceSelection selection = options.model.device;
  Plan plan;
  if (options.vram_bytes > 0) {
    request.device = device_room(selection, options.vram_bytes);
    plan = make_plan(spec, request);
  } else if (auto choice = choose_device(selection, spec, request)) {
    request = choice->request;
    plan = choice->plan;
  } else {
    plan = make_plan(spec, request);
  }
  const PlanReport report = {.spec = spec,
                             .types = types,
                             .plan = plan,
                             .rates = {.link = options.link * 1e9,
                                       .ram = options.ram * 1e9,
                                       .vram = options.vram * 1e9,
                                       .operations = options.operations * 1e12,
                                       .processor_operations = options.processor * 1e12},
                             .vram_bytes = request.device ? request.device->bytes : 0,
                             .ram_bytes = request.ram_bytes};
  if (options.json) {
    fmt::print("{}\n", plan_json(report).dump());
  } else {
    fmt::print("{}", plan_table(report));
  }
  return kDone;
}

}  // namespace

void declare_plan(CLI::App& command, std::function<int()>& run) {
  auto options = std::make_shared<PlanOptions>();
  declare_model_options(command, options->model);
  command
      .add_option("--vram", options->vram_bytes,
                  "memory of the GPU to plan for, such as 16GiB; default: this machine's GPU")
      ->transform(size_of_at_least(kLeastMemory));
  command
      .add_option("--ram", options->ram_bytes,
                  "RAM to plan for, such as 64GiB; default: what is free on this machine, or with "
                  "--vram as much as it takes")
      ->transform(size_of_at_least(kLeastMemory));
  add_concurrency_option(command, options->model.max_sequences);
  const auto add_rate = [&](const char* name, double& rate, const char* what) {
    command.add_option(name, rate, what)->check(number_of(0.001, 1e6))->capture_default_str();
  };
  add_rate("--link-rate", options->link, "to the GPU, in GB/s");
  add_rate("--ram-rate", options->ram, "of RAM, in GB/s");
  add_rate("--vram-rate", options->vram, "of the GPU's memory, in GB/s");
  add_rate("--gpu-rate", options->operations, "of the GPU's BF16 products, in TFLOP/s");
  add_rate("--cpu-rate", options->processor, "of the processor's INT8 products, in TFLOP/s");
  command.add_flag("--json", options->json, "print one JSON object instead of a table");
  run = [options] { return run_plan(*options); };
}

}  // namespace krasis
