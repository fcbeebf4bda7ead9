#include "cuda/expert_copies.h"

namespace krasis::cuda {

ExpertCopies::ExpertCopies(std::span<const ExpertMatrices> /*layers*/) {}

ExpertCopies::~ExpertCopies() = default;

void ExpertCopies::copy(std::byte* to, const std::byte* from, std::size_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_.get()),
        "copying experts to the device");
}

}  // namespace krasis::cuda
