// What every kernel entry point of this folder is given. An entry point takes the op's struct,
// whose pointers are device pointers, and a Launch; it queues work on the stream and returns. It
// neither waits, allocates, nor copies from pageable host memory, so that a step can be captured as
// a graph.
#pragma once

#include <cstddef>
#include <cuda_runtime_api.h>

namespace krasis::cuda {

struct DeviceProperties {
  int multiprocessors = 0;
  int capability = 0;            // 80, 89, 90, ...: major * 10 + minor
  std::size_t shared_bytes = 0;  // of a block that asks for them
  std::size_t l2_bytes = 0;
};

// The step's segments and page tables in device memory, at addresses that never change, so that
// graphs can be replayed. The counts are of the host.
struct StepTables {
  int segments = 0;
  int tokens = 0;
  int max_rows = 0;                // upper bound of a segment's rows
  int max_context = 0;             // upper bound of past + rows over segments
  const int* first_row = nullptr;  // [segments]
  const int* rows = nullptr;       // [segments]
  const int* past = nullptr;       // [segments]
  const int* slot = nullptr;       // [segments]
  const int* pages = nullptr;      // [segments, page_stride]
  int page_stride = 0;
  const int* segment_of_row = nullptr;  // [tokens], -1: none
};

// Device memory for one op's intermediate results, given back when the op ends.
class Scratch {
 public:
  Scratch() = default;
  Scratch(std::byte* data, std::size_t bytes) : data_(data), bytes_(bytes) {}

  // Aligned to 256 bytes, not cleared. Throws Error(OutOfMemory) with both sizes.
  void* take(std::size_t bytes);
  template <class T>
  T* take_as(std::size_t count) {
    return static_cast<T*>(take(count * sizeof(T)));
  }

  // What has not been taken, for ops that are part of this one.
  Scratch rest() const { return {data_ + used_bytes_, bytes_ - used_bytes_}; }

  void give_back_all() { used_bytes_ = 0; }
  std::size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  std::size_t used_bytes_ = 0;
};

class CublasLt;  // cublaslt.h

struct Launch {
  cudaStream_t stream;
  Scratch& scratch;
  const DeviceProperties& device;
  const StepTables& tables;
  CublasLt* cublas = nullptr;  // nullptr: not there
};

}  // namespace krasis::cuda
