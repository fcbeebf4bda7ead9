// The architectures, one file each; registry.cpp lists them.
#pragma once

#include "arch/architecture.h"

namespace krasis {

extern const Architecture kQwen3Next;
extern const Architecture kQwen3Moe;
extern const Architecture kDeepseekV2;
extern const Architecture kDeepseekV3;
extern const Architecture kKimiK25;
extern const Architecture kGlm4Moe;
extern const Architecture kQwen3;
extern const Architecture kLlama;

// Kimi K2 is this architecture under its own name, and Kimi K2.5 nests it.
ModelSpec parse_deepseek_v3(const nlohmann::json& config, const std::string& where);

}  // namespace krasis
