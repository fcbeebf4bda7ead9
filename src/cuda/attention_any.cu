// Attention of every shape, in F32: a block computes one row of results, which is its accumulator.
#include <limits>

#include "base/float8.h"
#include "cuda/attention_parts.cuh"
#include "cuda/runtime.h"

namespace krasis::cuda {
namespace {

constexpr int kThreads = 128;  // and keys a turn

struct AnyArguments {
  Rows queries;  // [tokens * heads, key_dim]
  PagedKv kv;
  StepTables tables;
  int heads;
  float scale;
  MutableRows out;  // [tokens * heads, value_dim]
};

__device__ float number(const float* cache, std::int64_t at) {
  return cache[at];
}
__device__ float number(const bf16* cache, std::int64_t at) {
  return __uint_as_float(static_cast<unsigned>(cache[at].bits) << 16);
}

__device__ float number(const e4m3* cache, std::int64_t at) {
  return to_float(cache[at]);
}

template <class Combine>
__device__ float over_block(float value, const Combine& combine) {
  __shared__ float numbers[kThreads / kWarp];
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    value = combine(value, __shfl_xor_sync(~0u, value, distance));
  if (threadIdx.x % kWarp == 0) numbers[threadIdx.x / kWarp] = value;
  __syncthreads();
  value = numbers[0];
#pragma unroll
  for (int w = 1; w < kThreads / kWarp; ++w) value = combine(value, numbers[w]);
  __syncthreads();
  return value;
}

template <class T>
__device__ float score(const AnyArguments& a, const float* query, std::int64_t cache_row) {
  const T* const keys = reinterpret_cast<const T*>(a.kv.keys);
  float dot = 0;
  for (std::int64_t d = 0; d < a.kv.key_dim; ++d)
    dot += query[d] * number(keys, cache_row * a.kv.key_dim + d);
  return a.scale * dot;
}

template <class T>
__global__ void __launch_bounds__(kThreads) any_row(const AnyArguments a) {
  __shared__ float weights[kThreads];
  __shared__ std::int64_t cache_rows[kThreads];
  const auto token = static_cast<int>(blockIdx.x / a.heads);
  const int head = static_cast<int>(blockIdx.x % a.heads);
  const int segment = a.tables.segment_of_row[token];
  if (segment < 0) return;
  const float* const query = a.queries.data + blockIdx.x * a.queries.stride;
  float* const out = a.out.data + blockIdx.x * a.out.stride;
  const bool latent = a.kv.values == nullptr;
  const T* const values = reinterpret_cast<const T*>(latent ? a.kv.keys : a.kv.values);
  const std::int64_t value_pitch = latent ? a.kv.key_dim : a.kv.value_dim;
  const std::int64_t kv_head = head / (a.heads / a.kv.kv_heads);
  const int* const pages = a.tables.pages + std::int64_t{segment} * a.tables.page_stride;
  const int visible = a.tables.past[segment] + token - a.tables.first_row[segment] + 1;
  const int thread = static_cast<int>(threadIdx.x);

  float largest = -std::numeric_limits<float>::infinity();
  float sum = 0;
  for (int first = 0; first < visible; first += kThreads) {
    const int count = min(kThreads, visible - first);
    float mine = -std::numeric_limits<float>::infinity();
    if (thread < count) {
      const std::int64_t at = first + thread;
      const std::int64_t row =
          (pages[at / a.kv.page_tokens] * a.kv.kv_heads + kv_head) * a.kv.page_tokens +
          at % a.kv.page_tokens;
      cache_rows[thread] = row;
      mine = score<T>(a, query, row);
    }
    const float before = largest;
    largest = fmaxf(largest, over_block(mine, [](float x, float y) { return fmaxf(x, y); }));
    const float factor = first == 0 ? 0.0f : expf(before - largest);
    const float weight = thread < count ? expf(mine - largest) : 0.0f;
    weights[thread] = weight;
    sum = sum * factor + over_block(weight, [](float x, float y) { return x + y; });
    for (std::int64_t d = thread; d < a.kv.value_dim; d += kThreads) {
      float value = first == 0 ? 0.0f : out[d] * factor;
      for (int i = 0; i < count; ++i)
        value += weights[i] * number(values, cache_rows[i] * value_pitch + d);
      out[d] = value;
    }
    __syncthreads();
  }
  for (std::int64_t d = thread; d < a.kv.value_dim; d += kThreads) out[d] /= sum;
}

}  // namespace

void attention_any(const Attention& op, const Launch& launch) {
  const AnyArguments arguments{op.queries, op.kv, launch.tables, static_cast<int>(op.heads),
                               op.scale,   op.out};
  const auto kernel = op.kv.dtype == DType::F32      ? any_row<float>
                      : op.kv.dtype == DType::F8E4M3 ? any_row<e4m3>
                                                     : any_row<bf16>;
  kernel<<<static_cast<unsigned>(op.queries.rows), kThreads, 0, launch.stream>>>(arguments);
  check_launch("attention of any shape");
}

}  // namespace krasis::cuda
