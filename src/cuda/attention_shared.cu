// The shapes of attention_shared.cuh on a cache of BF16.
#include "cuda/attention_shared.cuh"

namespace krasis::cuda {
namespace {

//                                key, value, latent, groups, warps, tiles, keys, blocks
constexpr SharedShape kDecode64 = {64, 64, false, 1, 4, 1, 64, 4};
constexpr SharedShape kDecode128 = {128, 128, false, 1, 8, 1, 64, 3};
constexpr SharedShape kDecode256 = {256, 256, false, 1, 4, 1, 32, 3};
constexpr SharedShape kLatentSmall = {576, 512, true, 1, 4, 1, 32, 2};
constexpr SharedShape kLatentMedium = {576, 512, true, 2, 4, 2, 32, 1};
constexpr SharedShape kLatentLarge = {576, 512, true, 2, 4, 2, 64, 1};

}  // namespace

void attention_decode(const AttentionArguments& arguments, int dim, const Launch& launch) {
  if (dim == 64) return launch_shared<kDecode64>(arguments, launch);
  if (dim == 128) return launch_shared<kDecode128>(arguments, launch);
  return launch_shared<kDecode256>(arguments, launch);
}

void attention_latent(const AttentionArguments& arguments, const Launch& launch) {
  switch (arguments.part.kernel) {
    case AttentionKernel::LatentMedium:
      return launch_shared<kLatentMedium>(arguments, launch);
    case AttentionKernel::LatentLarge:
      return launch_shared<kLatentLarge>(arguments, launch);
    default:
      return launch_shared<kLatentSmall>(arguments, launch);
  }
}

}  // namespace krasis::cuda
