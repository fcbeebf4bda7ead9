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

void attention_decode_narrow(const AttentionArguments& arguments, int dim, cudaStream_t stream) {
  if (dim == 64) return launch_shared<kDecode64>(arguments, stream);
  if (dim == 128) return launch_shared<kDecode128>(arguments, stream);
  return launch_shared<kDecode256>(arguments, stream);
}

void attention_latent_narrow(const AttentionArguments& arguments, cudaStream_t stream) {
  launch_shared<kLatent>(arguments, stream);
}

}  // namespace krasis::cuda
