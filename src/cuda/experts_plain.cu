#include <algorithm>
#include <cuda_fp16.h>

#include "base/error.h"
#include "cuda/experts_plain.h"
#include "cuda/runtime.h"
#include "cuda/tensor_core.cuh"

namespace krasis::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kChunkExperts = 128;  // whose pointers are a kernel's argument: 3 KB of at most 4

struct Pointers {
  const void* gate;
  const void* up;
  const void* down;
};
struct PointerChunk {
  Pointers experts[kChunkExperts];
};

__global__ void store_kernel(const __grid_constant__ PointerChunk chunk, int count,
                             Pointers* table) {
  if (static_cast<int>(threadIdx.x) < count) table[threadIdx.x] = chunk.experts[threadIdx.x];
}

// The op's host pointers as a table in device memory. They travel as arguments, so that a graph
// that was captured keeps them.
Pointers* store_table(const ExpertMatrices& matrices, const Launch& launch) {
  auto* table = launch.scratch.take_as<Pointers>(static_cast<std::size_t>(matrices.experts));
  for (std::int64_t first = 0; first < matrices.experts; first += kChunkExperts) {
    const auto count =
        static_cast<int>(std::min<std::int64_t>(kChunkExperts, matrices.experts - first));
    PointerChunk chunk{};
    for (int i = 0; i < count; ++i) {
      chunk.experts[i] = {matrices.gate[first + i].data, matrices.up[first + i].data,
                          matrices.down[first + i].data};
    }
    store_kernel<<<1, kChunkExperts, 0, launch.stream>>>(chunk, count, table + first);
    check_launch("experts: pointers");
  }
  return table;
}

__device__ float widen(float value) {
  return value;
}
__device__ float widen(__nv_bfloat16 value) {
  return __bfloat162float(value);
}
__device__ float widen(__half value) {
  return __half2float(value);
}

__device__ float sum_lanes(float value) {
  for (int step = kWarp / 2; step > 0; step /= 2)
    value += __shfl_xor_sync(0xFFFFFFFFu, value, step);
  return value;
}

template <class T>
__device__ float lane_dot(const void* matrix, long long row, long long columns, const float* x) {
  const T* w = static_cast<const T*>(matrix) + row * columns;
  float sum = 0;
  for (long long k = threadIdx.x % kWarp; k < columns; k += kWarp) sum += widen(w[k]) * x[k];
  return sum;
}

struct PlainArguments {
  const Pointers* table;
  const int* ids;        // [tokens, top_k], -1: none
  const float* weights;  // [tokens, top_k]
  long long top_k, hidden, intermediate;
  Rows x;
  MutableRows out;
  float* product;  // [tokens, top_k, intermediate]
};

// A warp an element of silu(gate) * up.
template <class T>
__global__ void gated_kernel(const __grid_constant__ PlainArguments a) {
  const long long all = a.x.rows * a.top_k * a.intermediate;
  const long long first = blockIdx.x * static_cast<long long>(kWarps) + threadIdx.x / kWarp;
  for (long long at = first; at < all; at += static_cast<long long>(gridDim.x) * kWarps) {
    const long long pair = at / a.intermediate;
    const long long row = at % a.intermediate;
    if (a.ids[pair] < 0) continue;
    const Pointers expert = a.table[a.ids[pair]];
    const float* x = a.x.data + pair / a.top_k * a.x.stride;
    const float gate = sum_lanes(lane_dot<T>(expert.gate, row, a.hidden, x));
    const float up = sum_lanes(lane_dot<T>(expert.up, row, a.hidden, x));
    if (threadIdx.x % kWarp == 0) a.product[at] = gate / (1.0f + expf(-gate)) * up;
  }
}

// A warp an element of the result.
template <class T>
__global__ void down_kernel(const __grid_constant__ PlainArguments a) {
  const long long all = a.out.rows * a.hidden;
  const long long first = blockIdx.x * static_cast<long long>(kWarps) + threadIdx.x / kWarp;
  for (long long at = first; at < all; at += static_cast<long long>(gridDim.x) * kWarps) {
    const long long token = at / a.hidden;
    const long long row = at % a.hidden;
    float sum = 0;
    for (long long j = 0; j < a.top_k; ++j) {
      const long long pair = token * a.top_k + j;
      if (a.ids[pair] < 0) continue;
      sum += a.weights[pair] * lane_dot<T>(a.table[a.ids[pair]].down, row, a.intermediate,
                                           a.product + pair * a.intermediate);
    }
    sum = sum_lanes(sum);
    if (threadIdx.x % kWarp == 0) a.out.data[token * a.out.stride + row] = sum;
  }
}

template <class T>
void start(const PlainArguments& a, const Launch& launch) {
  const auto blocks = static_cast<unsigned>(launch.device.multiprocessors * 8);
  gated_kernel<T><<<blocks, kThreads, 0, launch.stream>>>(a);
  check_launch("experts: gated");
  down_kernel<T><<<blocks, kThreads, 0, launch.stream>>>(a);
  check_launch("experts: down");
}

constexpr std::int64_t kMaxProductBytes = std::int64_t{256} << 20;

// Tokens whose products fit.
std::int64_t tokens_a_part(const ExpertMatrices& matrices, std::int64_t top_k, std::int64_t bytes) {
  return std::max<std::int64_t>(1, bytes / (top_k * matrices.intermediate * 4));
}

}  // namespace

std::size_t plain_experts_bytes(const ExpertMatrices& matrices, std::int64_t tokens,
                                std::int64_t top_k) {
  constexpr std::size_t kAlignment = 512;
  const std::int64_t part = std::min(tokens, tokens_a_part(matrices, top_k, kMaxProductBytes));
  return static_cast<std::size_t>(part * top_k * matrices.intermediate) * sizeof(float) +
         static_cast<std::size_t>(matrices.experts) * sizeof(Pointers) + 2 * kAlignment;
}

void plain_experts(const Experts& op, const Launch& launch) {
  const ExpertMatrices& matrices = op.matrices;
  const std::int64_t room = static_cast<std::int64_t>(
      launch.scratch.bytes() -
      std::min(launch.scratch.bytes(), plain_experts_bytes(matrices, 0, op.top_k)));
  const std::int64_t part =
      std::min(op.x.rows, tokens_a_part(matrices, op.top_k, std::min(room, kMaxProductBytes)));
  const Pointers* table = store_table(matrices, launch);
  auto* product = launch.scratch.take_as<float>(
      static_cast<std::size_t>(part * op.top_k * matrices.intermediate));
  for (std::int64_t first = 0; first < op.x.rows; first += part) {
    const std::int64_t tokens = std::min(part, op.x.rows - first);
    const PlainArguments a{.table = table,
                           .ids = op.ids.data() + first * op.top_k,
                           .weights = op.weights.data() + first * op.top_k,
                           .top_k = op.top_k,
                           .hidden = matrices.hidden,
                           .intermediate = matrices.intermediate,
                           .x = op.x.slice(first, tokens),
                           .out = op.out.slice(first, tokens),
                           .product = product};
    switch (matrices.gate[0].format) {
      case Matrix::Format::F32:
        start<float>(a, launch);
        break;
      case Matrix::Format::BF16:
        start<__nv_bfloat16>(a, launch);
        break;
      case Matrix::Format::F16:
        start<__half>(a, launch);
        break;
      case Matrix::Format::Tiles:
        throw Error(ErrorCode::Internal, "experts: plain matrices are tiles");
    }
  }
}

}  // namespace krasis::cuda
