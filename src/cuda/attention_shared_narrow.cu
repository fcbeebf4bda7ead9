// The shapes of attention_shared.cuh on a cache of E4M3.
#include "cuda/attention_shared.cuh"

namespace krasis::cuda {
namespace {

//                                key, value, latent, groups, warps, tiles, keys, blocks, narrow
constexpr SharedShape kDecode64 = {64, 64, false, 1, 4, 1, 64, 4, true};
constexpr SharedShape kLatent = {576, 512, true, 1, 4, 1, 32, 3, true};

}  // namespace

void attention_shared_narrow(const AttentionArguments& arguments, const Launch& launch) {
  launch_shared<kDecode64>(arguments, launch);
}

void attention_latent_narrow(const AttentionArguments& arguments, const Launch& launch) {
  launch_shared<kLatent>(arguments, launch);
}

}  // namespace krasis::cuda
