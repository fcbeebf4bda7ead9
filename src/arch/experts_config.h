// Routed and shared experts as config.json files describe them.
#pragma once

#include "arch/config_reader.h"
#include "arch/model_spec.h"

namespace krasis {

// intermediate_size, for a layer without routing. Throws Error(Unsupported) where mlp_bias is on,
// unless the architecture knows biases there.
enum class FfnBias : std::uint8_t { Unknown, Known };
DenseFfn read_dense_ffn(const ConfigReader& config, FfnBias bias = FfnBias::Unknown);

// Experts (n_routed_experts, num_experts or num_local_experts), num_experts_per_tok and
// moe_intermediate_size; softmax over all experts.
SparseFfn read_experts(const ConfigReader& config);

// n_shared_experts experts of moe_intermediate_size each, run as one. `missing`: how many there are
// if the file does not say.
void read_shared_experts(const ConfigReader& config, std::int64_t missing, SparseFfn& ffn);

// n_group and topk_group (null: one group). Throws Error(Corrupt) if they do not divide the experts
// or leave too few to choose from.
void read_groups(const ConfigReader& config, GroupScore score, Routing& routing);

// Experts with sigmoid scores, a bias that only chooses, groups, and routed_scaling_factor.
SparseFfn read_sigmoid_experts(const ConfigReader& config, double default_scale);

// Whether a layer routes, by mlp_only_layers and decoder_sparse_step.
bool routes_by_step(const ConfigReader& config, std::int64_t layer);

// Whether a layer routes, by first_k_dense_replace and moe_layer_freq (a step, or a flag a layer).
bool routes_after_first(const ConfigReader& config, std::int64_t layer, std::int64_t default_first);

}  // namespace krasis
