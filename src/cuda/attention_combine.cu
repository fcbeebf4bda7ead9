// The results of a row's splits become one, in the order of the splits.
#include "cuda/attention_parts.cuh"
#include "cuda/early_start.cuh"

namespace krasis::cuda {
namespace {

constexpr int kColumns = 64;                  // of a block,
constexpr int kColumnThreads = kColumns / 4;  // four a thread
constexpr int kTakers = 16;                   // threads that take turns at a column's splits

// A sum of weights times values with its limits.
struct Weighted {
  float largest = kNoScore;
  float sum = 0;
  float4 values{};

  __device__ void add(float other_largest, float other_sum, const float4& other) {
    if (other_sum == 0) return;  // nothing was visible
    const float top = fmaxf(largest, other_largest);
    const float mine = power_of_two(largest - top);
    const float theirs = power_of_two(other_largest - top);
    largest = top;
    sum = sum * mine + other_sum * theirs;
    values = {values.x * mine + other.x * theirs, values.y * mine + other.y * theirs,
              values.z * mine + other.z * theirs, values.w * mine + other.w * theirs};
  }
};

// The segment and row in it that a partial row is of. False: none.
__device__ bool find_row(const AttentionArguments& a, int row, int& segment, int& token) {
  if (a.part.by_segment) {
    segment = row / a.part.most_rows;
    token = row % a.part.most_rows;
  } else {
    segment = a.tables.segment_of_row[row];
    if (segment < 0) return false;
    token = row - a.tables.first_row[segment];
  }
  const int rows = a.tables.rows[segment];
  return rows >= a.part.least_rows && rows <= a.part.most_rows && token < rows;
}

__global__ void __launch_bounds__(kColumnThreads* kTakers)
    combine(const AttentionArguments a, int value_dim) {
  __shared__ Weighted shared[kTakers][kColumnThreads];
  let_later_start();
  wait_for_earlier();
  const int row = static_cast<int>(blockIdx.x) / a.heads;
  const int head = static_cast<int>(blockIdx.x) % a.heads;
  int segment, token;
  if (!find_row(a, row, segment, token)) return;
  const int column = static_cast<int>(blockIdx.y) * kColumns + static_cast<int>(threadIdx.x) * 4;
  Weighted mine;
#pragma unroll 4
  for (int split = static_cast<int>(threadIdx.y); split < a.part.splits; split += kTakers) {
    const std::int64_t at = split * a.part.partial_rows + blockIdx.x;
    const float2 limits = a.limits[at];
    mine.add(limits.x, limits.y,
             *reinterpret_cast<const float4*>(a.partial + at * value_dim + column));
  }
  shared[threadIdx.y][threadIdx.x] = mine;
  __syncthreads();
  if (threadIdx.y != 0) return;
#pragma unroll
  for (int t = 1; t < kTakers; ++t) {
    const Weighted& other = shared[t][threadIdx.x];
    mine.add(other.largest, other.sum, other.values);
  }
  const std::int64_t out = std::int64_t{a.tables.first_row[segment] + token} * a.heads + head;
  const float factor = 1.0f / mine.sum;
  float2* const to = reinterpret_cast<float2*>(a.out + out * a.out_stride + column);
  to[0] = {mine.values.x * factor, mine.values.y * factor};
  to[1] = {mine.values.z * factor, mine.values.w * factor};
}

}  // namespace

void attention_combine(const AttentionArguments& arguments, int value_dim, const Launch& launch) {
  const dim3 grid(static_cast<unsigned>(arguments.part.partial_rows),
                  static_cast<unsigned>(value_dim / kColumns));
  start_early(combine, {.blocks = grid, .threads = dim3(kColumnThreads, kTakers)}, launch,
              arguments, value_dim);
}

}  // namespace krasis::cuda
