#include "cuda/early_start.cuh"
#include "cuda/route.h"
#include "cuda/tensor_core.cuh"

namespace krasis::cuda {
namespace {

constexpr int kWarps = 4;                      // of a block, each with a token of its own
constexpr int kWideExperts = 1024;             // with a thread each
constexpr std::int64_t kSharedNumbers = 2048;  // experts and groups of a token in shared memory
constexpr float kNormFloor = 1e-20f;           // ops/experts.h

// Choices are compared as integers in the order of the numbers that they stand for.
constexpr unsigned kTaken = 0;  // below every number's key

// NaN counts as least, the same as -infinity.
__device__ unsigned key_of(float choice) {
  if (isnan(choice)) choice = -__int_as_float(0x7F800000);
  const unsigned bits = __float_as_uint(choice + 0.0f);  // -0 becomes 0
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

__device__ float number_of(unsigned key) {
  return __uint_as_float((key & 0x80000000u) != 0 ? key & 0x7FFFFFFFu : ~key);
}

struct Arguments {
  const float* logits;  // [tokens, experts]
  std::int64_t stride;
  int tokens;
  const float* bias;  // [experts], or nullptr
  int experts, top_k, groups, top_groups;
  bool sigmoid, two_sum, normalize;
  float scale;
  std::int32_t* ids;  // [tokens, top_k]
  float* weights;     // [tokens, top_k]
  unsigned* keys;     // [tokens, experts + groups], or nullptr: in shared memory
};

__device__ float largest_of_warp(float value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    value = fmaxf(value, __shfl_xor_sync(~0u, value, distance));
  return value;
}

__device__ float sum_of_warp(float value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    value += __shfl_xor_sync(~0u, value, distance);
  return value;
}

// What turns a logit into a score.
struct Scores {
  bool sigmoid;
  float largest, sum;  // of the softmax

  __device__ float of(float logit) const {
    return sigmoid ? 1.0f / (1.0f + expf(-logit)) : expf(logit - largest) / sum;
  }
};

__device__ Scores scores_of(const Arguments& a, const float* logits, int lane) {
  Scores scores{a.sigmoid, 0, 1};
  if (a.sigmoid) return scores;
  float largest = -__int_as_float(0x7F800000);
  for (int e = lane; e < a.experts; e += kWarp) largest = fmaxf(largest, logits[e]);
  scores.largest = largest_of_warp(largest);
  float sum = 0;
  for (int e = lane; e < a.experts; e += kWarp) sum += expf(logits[e] - scores.largest);
  scores.sum = sum_of_warp(sum);
  return scores;
}

// A lane's best key among those it looks at, the lowest index on a tie.
struct Best {
  unsigned key = kTaken;
  int index = 0;
};

__device__ Best best_of_lane(const unsigned* keys, int count, int lane) {
  Best best;
  for (int i = lane; i < count; i += kWarp)
    if (keys[i] > best.key) best = {keys[i], i};
  return best;
}

// The index of the best of all lanes, which is marked as taken; its lane looks for its next.
__device__ int take_best(unsigned* keys, int count, int lane, Best& mine) {
  const unsigned key = __reduce_max_sync(~0u, mine.key);
  const int index = __reduce_min_sync(~0u, mine.key == key ? mine.index : 0x7FFFFFFF);
  if (index % kWarp == lane) {
    keys[index] = kTaken;
    mine = best_of_lane(keys, count, lane);
  }
  return index;
}

// The key of a group's score.
__device__ unsigned group_key(const unsigned* keys, int size, bool two_sum, int lane) {
  unsigned first = kTaken, second = kTaken;
  for (int i = lane; i < size; i += kWarp) {
    const unsigned key = keys[i];
    second = max(second, min(first, key));
    first = max(first, key);
  }
  const unsigned best = __reduce_max_sync(~0u, first);
  if (!two_sum || size == 1) return best;
  const unsigned owner = __ffs(__ballot_sync(~0u, first == best)) - 1;
  const unsigned next = __reduce_max_sync(~0u, lane == owner ? second : first);
  return key_of(number_of(best) + number_of(next));
}

// Experts of all but the best groups count as least.
__device__ void keep_best_groups(const Arguments& a, unsigned* keys, unsigned* groups, int lane) {
  const int size = a.experts / a.groups;
  for (int g = 0; g < a.groups; ++g) {
    const unsigned key = group_key(keys + g * size, size, a.two_sum, lane);
    if (lane == 0) groups[g] = key;
  }
  __syncwarp();
  Best mine = best_of_lane(groups, a.groups, lane);
  for (int i = 0; i < a.top_groups; ++i) take_best(groups, a.groups, lane, mine);
  __syncwarp();
  const unsigned least = key_of(-__int_as_float(0x7F800000));
  for (int e = lane; e < a.experts; e += kWarp)
    if (groups[e / size] != kTaken) keys[e] = least;
  __syncwarp();
}

// The choice's key. Without a bias scores and logits have the same order, but unlike scores, logits
// of F32 do not run into each other.
__device__ unsigned choice_key(const Arguments& a, const Scores& scores, float logit, int expert,
                               bool by_logit) {
  if (isnan(scores.sum)) return key_of(scores.sum);
  if (by_logit) return key_of(logit);
  return key_of(scores.of(logit) + (a.bias == nullptr ? 0.0f : a.bias[expert]));
}

// ids are the token's, those at lane, lane + 32, ... written by this lane.
__device__ void write_weights(const Arguments& a, const Scores& scores, const float* logits,
                              const std::int32_t* ids, float* weights, int lane) {
  float sum = 0;
  for (int j = lane; j < a.top_k; j += kWarp) sum += weights[j] = scores.of(logits[ids[j]]);
  const float divisor = a.normalize ? sum_of_warp(sum) + kNormFloor : 1.0f;
  for (int j = lane; j < a.top_k; j += kWarp) weights[j] = weights[j] / divisor * a.scale;
}

// The general form: the keys lie in memory.
__global__ void __launch_bounds__(kWarps* kWarp) route_tokens(const Arguments a) {
  wait_for_earlier();
  let_later_start();
  extern __shared__ unsigned shared_keys[];
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  const int token = blockIdx.x * kWarps + warp;
  if (token >= a.tokens) return;
  const std::int64_t numbers = a.experts + a.groups;
  unsigned* const keys =
      a.keys == nullptr ? shared_keys + warp * numbers : a.keys + token * numbers;
  const float* const logits = a.logits + token * a.stride;
  const Scores scores = scores_of(a, logits, lane);

  const bool limited = a.top_groups < a.groups;
  const bool by_logit = a.bias == nullptr && !(limited && a.two_sum);
  for (int e = lane; e < a.experts; e += kWarp)
    keys[e] = choice_key(a, scores, logits[e], e, by_logit);
  __syncwarp();
  if (limited) keep_best_groups(a, keys, keys + a.experts, lane);

  std::int32_t* const ids = a.ids + std::int64_t{token} * a.top_k;
  Best mine = best_of_lane(keys, a.experts, lane);
  for (int j = 0; j < a.top_k; ++j) {
    const int expert = take_best(keys, a.experts, lane, mine);
    if (lane == j % kWarp) ids[j] = expert;
  }
  write_weights(a, scores, logits, ids, a.weights + std::int64_t{token} * a.top_k, lane);
}

// Lane j's is the token's j-th choice.
__device__ void write_choice(const Arguments& a, const Scores& scores, int token, int expert,
                             float logit) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const bool chose = lane < a.top_k;
  const float score = chose ? scores.of(logit) : 0.0f;
  const float divisor = a.normalize ? sum_of_warp(score) + kNormFloor : 1.0f;
  if (!chose) return;
  const std::int64_t at = std::int64_t{token} * a.top_k + lane;
  a.ids[at] = expert;
  a.weights[at] = score / divisor * a.scale;
}

// All experts in one group and at most 32 * kPerLane: the keys of experts lane, lane + 32, ... stay
// in the lane's registers. Lane j has the token's j-th choice, of 32 at the most.
template <int kPerLane>
__global__ void __launch_bounds__(kWarps* kWarp) route_in_registers(const Arguments a) {
  wait_for_earlier();
  let_later_start();
  const int lane = threadIdx.x % kWarp;
  const int token = blockIdx.x * kWarps + threadIdx.x / kWarp;
  if (token >= a.tokens) return;
  const float* const logits = a.logits + token * a.stride;
  const float least = -__int_as_float(0x7F800000);
  float mine[kPerLane];
#pragma unroll
  for (int i = 0; i < kPerLane; ++i)
    mine[i] = i * kWarp + lane < a.experts ? logits[i * kWarp + lane] : least;
  Scores scores{a.sigmoid, least, 0};
  if (!a.sigmoid) {
#pragma unroll
    for (const float logit : mine) scores.largest = fmaxf(scores.largest, logit);
    scores.largest = largest_of_warp(scores.largest);
#pragma unroll
    for (int i = 0; i < kPerLane; ++i)
      if (i * kWarp + lane < a.experts) scores.sum += expf(mine[i] - scores.largest);
    scores.sum = sum_of_warp(scores.sum);
  }
  unsigned keys[kPerLane];
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int expert = i * kWarp + lane;
    keys[i] =
        expert < a.experts ? choice_key(a, scores, mine[i], expert, a.bias == nullptr) : kTaken;
  }

  int own_expert = 0;
  float own_logit = 0;
  for (int j = 0; j < a.top_k; ++j) {
    unsigned best = kTaken;
#pragma unroll
    for (const unsigned key : keys) best = max(best, key);
    best = __reduce_max_sync(~0u, best);
    int expert = 0x7FFFFFFF;
#pragma unroll
    for (int i = kPerLane - 1; i >= 0; --i)
      if (keys[i] == best) expert = i * kWarp + lane;
    expert = __reduce_min_sync(~0u, expert);
    float logit = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (i * kWarp + lane != expert) continue;
      keys[i] = kTaken;
      logit = mine[i];
    }
    logit = __shfl_sync(~0u, logit, expert % kWarp);
    if (lane != j) continue;
    own_expert = expert;
    own_logit = logit;
  }
  write_choice(a, scores, token, own_expert, own_logit);
}

// All experts in one group, more than a warp's registers sort quickly: a block a token, a thread an
// expert. Every warp puts its best choices in order, then the first warp merges the warps' lists.
__global__ void __launch_bounds__(kWideExperts) route_wide(const Arguments a) {
  __shared__ float logits[kWideExperts], partial[kWarp];
  __shared__ unsigned keys[kWideExperts];  // of a warp's choices, kWarp apart
  __shared__ int experts[kWideExperts];
  wait_for_earlier();
  let_later_start();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  const int expert = static_cast<int>(threadIdx.x);
  const float least = -__int_as_float(0x7F800000);
  const float logit =
      expert < a.experts ? a.logits[std::int64_t{blockIdx.x} * a.stride + expert] : least;
  logits[expert] = logit;
  Scores scores{a.sigmoid, least, 0};
  if (!a.sigmoid) {
    const float largest = largest_of_warp(logit);
    if (lane == 0) partial[warp] = largest;
    __syncthreads();
    scores.largest = largest_of_warp(lane < warps ? partial[lane] : least);
    __syncthreads();
    const float sum = sum_of_warp(expert < a.experts ? expf(logit - scores.largest) : 0.0f);
    if (lane == 0) partial[warp] = sum;
    __syncthreads();
    scores.sum = sum_of_warp(lane < warps ? partial[lane] : 0.0f);
  }
  unsigned key = kTaken;
  if (expert < a.experts) key = choice_key(a, scores, logit, expert, a.bias == nullptr);
#pragma unroll 1
  for (int j = 0; j < a.top_k; ++j) {
    const unsigned best = __reduce_max_sync(~0u, key);
    const int owner = __ffs(static_cast<int>(__ballot_sync(~0u, key == best))) - 1;
    if (lane != owner) continue;
    keys[warp * kWarp + j] = key;
    experts[warp * kWarp + j] = expert;
    key = kTaken;
  }
  __syncthreads();
  if (warp != 0) return;

  // Lane w goes down the list of warp w. On a tie the lower warp has the lower experts.
  int place = lane * kWarp;
  const int end = lane < warps ? place + a.top_k : place;
  int own_expert = 0;
#pragma unroll 1
  for (int j = 0; j < a.top_k; ++j) {
    const unsigned head = place < end ? keys[place] : kTaken;
    const unsigned best = __reduce_max_sync(~0u, head);
    const int owner = __ffs(static_cast<int>(__ballot_sync(~0u, head == best))) - 1;
    const int chosen = __shfl_sync(~0u, place < end ? experts[place] : 0, owner);
    if (lane == owner) ++place;
    if (lane == j) own_expert = chosen;
  }
  write_choice(a, scores, static_cast<int>(blockIdx.x), own_expert, logits[own_expert]);
}

struct Kernel {
  void (*run)(Arguments) = nullptr;
  unsigned blocks = 0, threads = 0;
};

// No kernel: only the general form will do.
Kernel kernel_for_one_group(const Routing& routing, std::int64_t tokens) {
  if (routing.top_groups < routing.groups || routing.top_k > kWarp) return {};
  if (routing.experts > kWideExperts) return {};
  const auto blocks = static_cast<unsigned>((tokens + kWarps - 1) / kWarps);
  if (routing.experts <= 64) return {route_in_registers<2>, blocks, kWarps * kWarp};
  if (routing.experts <= 128) return {route_in_registers<4>, blocks, kWarps * kWarp};
  const auto warps = static_cast<unsigned>((routing.experts + kWarp - 1) / kWarp);
  return {route_wide, static_cast<unsigned>(tokens), warps * kWarp};
}

}  // namespace

void route(const Route& op, const Launch& launch) {
  const Routing& r = op.routing;
  const std::int64_t tokens = op.logits.rows;
  if (tokens == 0) return;
  const std::int64_t numbers = r.experts + r.groups;
  Kernel kernel = kernel_for_one_group(r, tokens);
  const bool in_shared = kernel.run == nullptr && numbers <= kSharedNumbers;
  const bool in_memory = kernel.run == nullptr && !in_shared;
  if (kernel.run == nullptr)
    kernel = {route_tokens, static_cast<unsigned>((tokens + kWarps - 1) / kWarps), kWarps * kWarp};
  const Arguments arguments{
      .logits = op.logits.data,
      .stride = op.logits.stride,
      .tokens = static_cast<int>(tokens),
      .bias = op.bias.empty() ? nullptr : op.bias.data(),
      .experts = static_cast<int>(r.experts),
      .top_k = static_cast<int>(r.top_k),
      .groups = static_cast<int>(r.groups),
      .top_groups = static_cast<int>(r.top_groups),
      .sigmoid = r.scoring == Scoring::Sigmoid,
      .two_sum = r.group_score == GroupScore::TopTwoSum,
      .normalize = r.normalize,
      .scale = r.scale,
      .ids = op.ids.data(),
      .weights = op.weights.data(),
      .keys = in_memory
                  ? launch.scratch.take_as<unsigned>(static_cast<std::size_t>(tokens * numbers))
                  : nullptr,
  };
  const std::size_t shared_bytes =
      in_shared ? kWarps * static_cast<std::size_t>(numbers) * sizeof(unsigned) : 0;
  // Lets later kernels start when it has waited itself: what they read at once is not its result.
  start_early(kernel.run,
              {.blocks = kernel.blocks, .threads = kernel.threads, .shared_bytes = shared_bytes},
              launch, arguments);
}

}  // namespace krasis::cuda
