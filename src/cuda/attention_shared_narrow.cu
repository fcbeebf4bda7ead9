// The shapes of attention_shared.cuh on a cache of E4M3.
#include "cuda/attention_shared.cuh"

namespace krasis::cuda {
namespace {

//                                key, value, latent, groups, warps, tiles, keys, blocks, narrow
constexpr SharedShape kDecode64 = {64, 64, false, 1, 4, 1, 64, 4, true};
constexpr SharedShape kDecode128 = {128, 128, false, 1, 8, 1, 64, 3, true};
constexpr SharedShape kDecode256 = {256, 256, false, 1, 4, 1, 32, 3, true};
constexpr SharedShape kLatent = {576, 512, true, 1, 4, 1, 32, 2, true};

}  // namespace

void attention_shared_narrow(const AttentionArguments& arguments, int dim, const Launch& launch) {
  if (dim == 64) return launch_shared<kDecode64>(arguments, launch);
  if (dim == 128) return launch_shared<kDecode128>(arguments, launch);
  launch_shared<kDecode256>(arguments, launch);
}

void attention_latent_narrow(const AttentionArguments& arguments, const Launch& launch) {
  launch_shared<kLatent>(arguments, launch);
}

}  // namespace krasis::cuda
