#include "cuda/expert_copies.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/parallel.h"
#include "cuda/expert_staging.h"
#include "cuda/pin_slices.h"

namespace krasis::cuda {
namespace {

// Threads pin slices side by side; a layer of a large model is as large as this.
constexpr std::size_t kSliceBytes = std::size_t{1} << 30;
constexpr int kPinningThreads = 8;
// A device copies one thing at a time in a direction; what others copy comes between these.
constexpr std::size_t kCopyBytes = std::size_t{64} << 20;

std::vector<std::span<const std::byte>> slices_of(std::span<const ExpertMatrices> layers) {
  std::vector<std::span<const std::byte>> ranges;
  for (const ExpertMatrices& layer : layers) {
    ranges.emplace_back(layer.tiled->base,
                        static_cast<std::size_t>(layer.experts) * layer.tiled->expert_bytes);
  }
  return pin_slices(ranges, kSliceBytes);
}

bool device_reads_program_addresses(int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, cudaDevAttrCanUseHostPointerForRegisteredMem, device),
        "reading a device's attributes");
  return value != 0;
}

}  // namespace

// A slice of memory while it is pinned.
class ExpertCopies::Pinned {
 public:
  Pinned() = default;
  Pinned(Pinned&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  Pinned& operator=(Pinned&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  ~Pinned() {
    if (data_ != nullptr) static_cast<void>(cudaHostUnregister(data_));
  }

  cudaError_t pin(std::span<const std::byte> slice) {
    auto* data = const_cast<std::byte*>(slice.data());  // the device only reads it
    const cudaError_t result =
        cudaHostRegister(data, slice.size(), cudaHostRegisterPortable | cudaHostRegisterMapped);
    if (result == cudaSuccess) data_ = data;
    static_cast<void>(cudaGetLastError());
    return result;
  }

 private:
  std::byte* data_ = nullptr;
};

ExpertCopies::ExpertCopies(std::span<const ExpertMatrices> layers, Pinning pinning) {
  int device = 0;
  check(cudaGetDevice(&device), "asking for the device");
  problem_ = pinning == Pinning::Refused ? "it shall not be" : pin(layers, device);
  if (problem_.empty()) {
    readable_in_place_ = device_reads_program_addresses(device);
    return;
  }
  pinned_.clear();
  log::warning("cuda: the experts' memory is not pinned (" + problem_ +
               "): it is copied by way of memory that is, which is slower");
  staging_ = std::make_unique<ExpertStaging>();
}

std::string ExpertCopies::pin(std::span<const ExpertMatrices> layers, int device) {
  const auto slices = slices_of(layers);
  std::vector<cudaError_t> results(slices.size(), cudaSuccess);
  pinned_.resize(slices.size());
  for_each_in_parallel(static_cast<std::int64_t>(slices.size()),
                       std::min(kPinningThreads, usable_processors()), [&](std::int64_t index) {
                         const auto i = static_cast<std::size_t>(index);
                         results[i] = cudaSetDevice(device);
                         if (results[i] == cudaSuccess) results[i] = pinned_[i].pin(slices[i]);
                       });
  const auto refused =
      std::ranges::find_if(results, [](cudaError_t result) { return result != cudaSuccess; });
  return refused == results.end() ? "" : cudaGetErrorString(*refused);
}

// Nothing is on its way when the memory goes.
ExpertCopies::~ExpertCopies() {
  static_cast<void>(cudaStreamSynchronize(stream_.get()));
}

void ExpertCopies::copy(std::byte* to, const std::byte* from, std::size_t bytes) {
  if (staging_ != nullptr) return staging_->copy(to, from, bytes, stream_);
  for (std::size_t done = 0; done < bytes; done += kCopyBytes) {
    check(cudaMemcpyAsync(to + done, from + done, std::min(bytes - done, kCopyBytes),
                          cudaMemcpyHostToDevice, stream_.get()),
          "copying experts to the device");
  }
}

}  // namespace krasis::cuda
