// Shapes of the models whose speed on a GPU is looked at, as the ops see them.
#pragma once

#include <cstdint>
#include <vector>

namespace krasis::bench {

struct LinearShape {
  const char* name;
  std::int64_t outputs, inputs;
  std::int64_t heads = 0;  // > 0: head_linear, one matrix [outputs, inputs] a head
};

struct AttentionShape {
  std::int64_t heads = 0, kv_heads = 0, key_dim = 0, value_dim = 0;
  bool latent = false;                            // values are the first numbers of keys
  std::int64_t rotary_heads = 0, rotary_dim = 0;  // queries and keys together
  bool interleaved = false;
};

struct DeltaShape {
  std::int64_t key_heads = 0, value_heads = 0, dim = 0, conv_width = 4;
  std::int64_t channels() const { return (2 * key_heads + value_heads) * dim; }
};

struct ModelShape {
  const char* name;
  std::int64_t hidden, vocab;
  std::int64_t experts, top_k, intermediate, shared_intermediate;
  bool sigmoid_routing;
  AttentionShape attention;
  DeltaShape delta;  // key_heads 0: none
  std::vector<LinearShape> linears;
};

inline std::vector<ModelShape> model_shapes() {
  return {{.name = "DeepSeek-V2-Lite",
           .hidden = 2048,
           .vocab = 102400,
           .experts = 64,
           .top_k = 6,
           .intermediate = 1408,
           .shared_intermediate = 2816,
           .sigmoid_routing = false,
           .attention = {16, 1, 576, 512, true, 17, 64, true},
           .delta = {},
           .linears = {{"queries", 3072, 2048},
                       {"latent", 576, 2048},
                       {"queries to latent", 512, 128, 16},
                       {"latent to values", 128, 512, 16},
                       {"output", 2048, 2048},
                       {"head", 102400, 2048}}},
          {.name = "Qwen3-Coder-Next",
           .hidden = 2048,
           .vocab = 151936,
           .experts = 512,
           .top_k = 10,
           .intermediate = 512,
           .shared_intermediate = 512,
           .sigmoid_routing = false,
           .attention = {16, 2, 256, 256, false, 18, 64, false},
           .delta = {16, 32, 128, 4},
           .linears = {{"delta q, k, v", 8192, 2048},
                       {"delta gates", 64, 2048},
                       {"delta output", 2048, 4096},
                       {"attention q and gate", 8192, 2048},
                       {"head", 151936, 2048}}},
          {.name = "Qwen3-235B",
           .hidden = 4096,
           .vocab = 151936,
           .experts = 128,
           .top_k = 8,
           .intermediate = 1536,
           .shared_intermediate = 0,
           .sigmoid_routing = false,
           .attention = {64, 4, 128, 128, false, 68, 128, false},
           .delta = {},
           .linears = {{"queries", 8192, 4096},
                       {"keys", 512, 4096},
                       {"output", 4096, 8192},
                       {"head", 151936, 4096}}}};
}

}  // namespace krasis::bench
