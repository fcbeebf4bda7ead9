// A plan as a table for people, and as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "budget/rates.h"

namespace krasis {

struct PlanReport {
  const ModelSpec& spec;
  const WeightTypes& types;
  const Plan& plan;
  MachineRates rates;
  std::uint64_t vram_bytes = 0;  // that may be used; 0: no device
  std::uint64_t ram_bytes = 0;   // that are free; 0: not known
};

std::string plan_table(const PlanReport& report);
nlohmann::ordered_json plan_json(const PlanReport& report);

}  // namespace krasis
