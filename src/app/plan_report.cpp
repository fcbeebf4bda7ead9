#include "app/plan_report.h"

#include <array>
#include <fmt/format.h>

namespace krasis {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::int64_t, 3> kLengths = {2048, 8192, 32768};

// Of prompts and of contexts: the usual ones that the context holds, or all of a shorter one.
std::vector<std::int64_t> lengths(const Plan& plan) {
  std::vector<std::int64_t> tokens;
  for (const std::int64_t length : kLengths)
    if (length <= plan.context_tokens) tokens.push_back(length);
  if (tokens.empty()) tokens.push_back(plan.context_tokens);
  return tokens;
}

double gigabytes(std::uint64_t bytes) {
  return static_cast<double>(bytes) / 1e9;
}

std::string spaced(std::string_view name) {
  std::string text(name);
  for (char& letter : text)
    if (letter == '_') letter = ' ';
  return text;
}

std::string memory_table(const char* name, std::uint64_t room,
                         const std::vector<Component>& components) {
  std::string text(name);
  if (room > 0) text += fmt::format(", of {:.3f} GB", gigabytes(room));
  text += "\n";
  for (const Component& component : components) {
    if (component.bytes > 0) {
      text += fmt::format("  {:<20} {:>10.3f} GB\n", spaced(component.name),
                          gigabytes(component.bytes));
    }
  }
  return text + fmt::format("  {:<20} {:>10.3f} GB\n", "total", gigabytes(total_bytes(components)));
}

std::string rate_row(const std::string& name, const PlannedRates& rates) {
  const auto number = [](double rate) {
    return rate > 0 ? fmt::format("{:.1f}", rate) : std::string("-");
  };
  return fmt::format("  {:<20} {:>12} {:>12}\n", name, number(rates.expected), number(rates.bound));
}

Json memory_json(const std::vector<Component>& components) {
  Json json = Json::object();
  for (const Component& component : components)
    json[std::string(component.name) + "_bytes"] = component.bytes;
  json["total_bytes"] = total_bytes(components);
  return json;
}

Json rates_json(const PlannedRates& rates) {
  return {{"expected_tokens_per_second", rates.expected}, {"bound_tokens_per_second", rates.bound}};
}

}  // namespace

std::string plan_table(const PlanReport& report) {
  const Plan& plan = report.plan;
  std::string text = fmt::format("{}, {} layers, mode {}\n", report.spec.architecture,
                                 report.spec.layers.size(), plan.mode);
  for (const std::string& note : plan.notes) text += "note: " + note + "\n";
  if (plan.on_device) {
    text += memory_table("VRAM", report.vram_bytes, plan.vram);
  }
  text += memory_table("RAM", report.ram_bytes, plan.ram);
  text += fmt::format("context {} tokens, {} at a time; prompts in passes of {} tokens\n",
                      plan.context_tokens, plan.sequences, plan.pass_tokens);
  if (plan.on_device && plan.experts > 0) {
    text += fmt::format("experts in VRAM {} of {}; {:.3f} GB cross the link once a pass\n",
                        plan.resident_experts, plan.experts, gigabytes(plan.streamed_bytes));
  }
  text += fmt::format("tokens a second        {:>12} {:>12}\n", "expected", "bound");
  for (const std::int64_t tokens : lengths(plan)) {
    text +=
        rate_row(fmt::format("prompt of {}", tokens),
                 prompt_rates(report.spec, report.types, plan, report.rates, {.tokens = tokens}));
  }
  for (const std::int64_t tokens : lengths(plan)) {
    text +=
        rate_row(fmt::format("decode after {}", tokens),
                 decode_rates(report.spec, report.types, plan, report.rates, {.context = tokens}));
  }
  text += fmt::format("assumed: RAM {:.1f} GB/s", report.rates.ram / 1e9);
  if (!plan.on_device) {
    text += fmt::format(", processor {:.2f} TFLOP/s", report.rates.processor_operations / 1e12);
  } else {
    text += fmt::format(", link {:.1f} GB/s, VRAM {:.0f} GB/s, GPU {:.0f} TFLOP/s",
                        report.rates.link / 1e9, report.rates.vram / 1e9,
                        report.rates.operations / 1e12);
  }
  return text + "\n";
}

nlohmann::ordered_json plan_json(const PlanReport& report) {
  const Plan& plan = report.plan;
  Json prompts = Json::array(), steps = Json::array();
  for (const std::int64_t tokens : lengths(plan)) {
    prompts.push_back({{"tokens", tokens}});
    prompts.back().update(rates_json(
        prompt_rates(report.spec, report.types, plan, report.rates, {.tokens = tokens})));
    steps.push_back({{"context", tokens}});
    steps.back().update(rates_json(
        decode_rates(report.spec, report.types, plan, report.rates, {.context = tokens})));
  }
  return {{"architecture", report.spec.architecture},
          {"layers", report.spec.layers.size()},
          {"mode", plan.mode},
          {"notes", plan.notes},
          {"vram_budget_bytes", report.vram_bytes},
          {"ram_budget_bytes", report.ram_bytes},
          {"vram", memory_json(plan.vram)},
          {"ram", memory_json(plan.ram)},
          {"context_tokens", plan.context_tokens},
          {"sequences", plan.sequences},
          {"experts", plan.experts},
          {"resident_experts", plan.resident_experts},
          {"streamed_bytes_per_pass", plan.streamed_bytes},
          {"pass_tokens", plan.pass_tokens},
          {"part_tokens", plan.part_tokens},
          {"prefill", prompts},
          {"decode", steps},
          {"assumed",
           {{"link_bytes_per_second", report.rates.link},
            {"ram_bytes_per_second", report.rates.ram},
            {"vram_bytes_per_second", report.rates.vram},
            {"operations_per_second", report.rates.operations},
            {"processor_operations_per_second", report.rates.processor_operations}}}};
}

}  // namespace krasis
