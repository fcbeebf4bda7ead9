#include <cuda_fp16.h>

#include "cuda/elementwise.h"
#include "cuda/row_grid.cuh"
#include "cuda/tensor_core.cuh"

namespace krasis::cuda {
namespace {

constexpr int kWide = 4;  // F32 numbers in the widest access

__device__ float exact_sigmoid(float z) {
  return 1.0f / (1.0f + expf(-z));
}

__device__ float widen(float value) {
  return value;
}
__device__ float widen(bf16 value) {
  return __uint_as_float(static_cast<unsigned>(value.bits) << 16);
}
__device__ float widen(f16 value) {
  return __half2float(__ushort_as_half(value.bits));
}

template <class T>
struct EmbeddingRow {
  const std::int32_t* ids;
  const T* table;
  std::int64_t vocabulary;
  MutableRows out;

  template <int kWidth>
  __device__ void apply(std::int64_t row, std::int64_t column) const {
    const std::int32_t id = ids[row];
    Pack<float, kWidth> result;
    if (id < 0 || id >= vocabulary) {
#pragma unroll
      for (float& value : result.v) value = __int_as_float(0x7FC00000);
    } else {
      const auto from = load_pack<kWidth>(table + id * out.cols + column);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) result.v[i] = widen(from.v[i]);
    }
    store_pack(out.data + row * out.stride + column, result);
  }
};

template <class T>
void embedding_of(const Embedding& op, const Launch& launch) {
  const BasicRows<const T> table(reinterpret_cast<const T*>(op.table.data), op.table.rows,
                                 op.table.columns);
  const EmbeddingRow<T> each{op.ids.data(), table.data, op.table.rows, op.out};
  if (packs_fit(op.out, kWide) && packs_fit(table, kWide)) {
    launch_packs<kWide>(each, op.out.rows, op.out.cols, launch);
  } else {
    launch_packs<1>(each, op.out.rows, op.out.cols, launch);
  }
  check_launch("embedding");
}

// The numbers of x + (y + z) from a row's column on; no z: no data.
template <int kWidth>
__device__ Pack<float, kWidth> sum_of(const Rows& x, const Rows& y, const Rows& z, std::int64_t row,
                                      std::int64_t column) {
  auto sum = load_pack<kWidth>(x.data + row * x.stride + column);
  auto added = load_pack<kWidth>(y.data + row * y.stride + column);
  if (z.data != nullptr) {
    const auto more = load_pack<kWidth>(z.data + row * z.stride + column);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) added.v[i] += more.v[i];
  }
#pragma unroll
  for (int i = 0; i < kWidth; ++i) sum.v[i] += added.v[i];
  return sum;
}

struct AddRow {
  Rows x, y, z;  // no z: no data
  MutableRows out;

  template <int kWidth>
  __device__ void apply(std::int64_t row, std::int64_t column) const {
    store_pack(out.data + row * out.stride + column, sum_of<kWidth>(x, y, z, row, column));
  }
};

// Where rows for products go.
struct ProductTarget {
  float* data;
  bf16 *high, *low;  // nullptr: data is F32; no low part
  std::int64_t stride;

  explicit ProductTarget(const MutableProductRows& out)
      : data(out.data), high(out.high()), low(out.low()), stride(out.stride) {}

  template <int kWidth>
  __device__ void store(std::int64_t row, std::int64_t column,
                        const Pack<float, kWidth>& values) const {
    const std::int64_t at = row * stride + column;
    if (high == nullptr) return store_pack(data + at, values);
    Pack<bf16, kWidth> rounded, rest;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const __nv_bfloat16 number = __float2bfloat16_rn(values.v[i]);
      rounded.v[i].bits = __bfloat16_as_ushort(number);
      rest.v[i].bits =
          __bfloat16_as_ushort(__float2bfloat16_rn(values.v[i] - __bfloat162float(number)));
    }
    store_pack(high + at, rounded);
    if (low != nullptr) store_pack(low + at, rest);
  }
};

bool packs_fit_product(const MutableProductRows& out, int width) {
  return packs_fit(out, width) &&
         (out.low() == nullptr || packs_fit(BasicRows<bf16>(out.low(), 1, out.cols), width));
}

struct CopyRow {
  Rows x;
  MutableRows out;

  template <int kWidth>
  __device__ void apply(std::int64_t row, std::int64_t column) const {
    store_pack(out.data + row * out.stride + column,
               load_pack<kWidth>(x.data + row * x.stride + column));
  }
};

struct SigmoidMultiplyRow {
  Rows x, gate;
  ProductTarget out;

  template <int kWidth>
  __device__ void apply(std::int64_t row, std::int64_t column) const {
    auto product = load_pack<kWidth>(x.data + row * x.stride + column);
    if (gate.cols == 1) {
      const float factor = exact_sigmoid(gate.data[row * gate.stride]);
#pragma unroll
      for (float& value : product.v) value *= factor;
    } else {
      const auto gates = load_pack<kWidth>(gate.data + row * gate.stride + column);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) product.v[i] *= exact_sigmoid(gates.v[i]);
    }
    out.store(row, column, product);
  }
};

enum class NormOf : std::uint8_t { X, GatedX, Sum };

struct Norm {
  Rows x, gate;  // no gate: no rows
  const float* weight;
  float eps;
  ProductTarget out;
  Rows y{}, z{};  // of AddNorm; no z: no data
  MutableRows sum{};
};

// The sum over the block's threads of one row; kThreads is a warp, or the whole block.
template <int kThreads>
__device__ float sum_of_row(float value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    value += __shfl_xor_sync(~0u, value, distance);
  if constexpr (kThreads == kWarp) return value;
  __shared__ float sums[kThreads / kWarp];
  if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = value;
  __syncthreads();
  // Every warp adds the warps' sums for itself, in the same order.
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  value = lane < kThreads / kWarp ? sums[lane] : 0.0f;
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    value += __shfl_xor_sync(~0u, value, distance);
  return value;
}

// The numbers of a row to be normed, from column d on.
template <int kWidth, NormOf kOf>
__device__ Pack<float, kWidth> numbers_of(const Norm& norm, std::int64_t row, std::int64_t d) {
  if constexpr (kOf == NormOf::Sum) return sum_of<kWidth>(norm.x, norm.y, norm.z, row, d);
  return load_pack<kWidth>(norm.x.data + row * norm.x.stride + d);
}

// threadIdx.y and the block choose the row.
template <int kThreads, int kWidth, NormOf kOf>
__global__ void norm_rows(const Norm norm) {
  let_later_start();
  const std::int64_t begin = threadIdx.x * kWidth;
  Pack<float, kWidth> first_weights{};
  if (begin < norm.x.cols) first_weights = load_pack<kWidth>(norm.weight + begin);
  wait_for_earlier();
  const std::int64_t row = blockIdx.x * std::int64_t{blockDim.y} + threadIdx.y;
  if (row >= norm.x.rows) return;
  const float* const gate = norm.gate.data + row * norm.gate.stride;
  float* const added = norm.sum.data + row * norm.sum.stride;
  Pack<float, kWidth> first{}, first_gates{};  // a thread's first numbers are not read twice
  if (kOf == NormOf::GatedX && begin < norm.x.cols) first_gates = load_pack<kWidth>(gate + begin);
  float sum = 0;
#pragma unroll 4
  for (std::int64_t d = begin; d < norm.x.cols; d += kThreads * kWidth) {
    const auto values = numbers_of<kWidth, kOf>(norm, row, d);
    if (d == begin) first = values;
    if constexpr (kOf == NormOf::Sum) store_pack(added + d, values);
#pragma unroll
    for (const float value : values.v) sum += value * value;
  }
  sum = sum_of_row<kThreads>(sum);
  const float scale = 1.0f / sqrtf(sum / static_cast<float>(norm.x.cols) + norm.eps);
  const float* const from = kOf == NormOf::Sum ? added : norm.x.data + row * norm.x.stride;
#pragma unroll 4
  for (std::int64_t d = begin; d < norm.x.cols; d += kThreads * kWidth) {
    auto values = d == begin ? first : load_pack<kWidth>(from + d);
    const auto weights = d == begin ? first_weights : load_pack<kWidth>(norm.weight + d);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) values.v[i] *= scale * weights.v[i];
    if constexpr (kOf == NormOf::GatedX) {
      const auto gates = d == begin ? first_gates : load_pack<kWidth>(gate + d);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) values.v[i] *= gates.v[i] * exact_sigmoid(gates.v[i]);
    }
    norm.out.store(row, d, values);
  }
}

template <int kThreads, NormOf kOf>
void launch_norm_by(const Norm& norm, bool wide, const Launch& launch) {
  constexpr int kLeastBlock = 256;
  const dim3 block(kThreads, kThreads < kLeastBlock ? kLeastBlock / kThreads : 1);
  const auto blocks = static_cast<unsigned>((norm.x.rows + block.y - 1) / block.y);
  start_early(wide ? norm_rows<kThreads, kWide, kOf> : norm_rows<kThreads, 1, kOf>,
              {.blocks = blocks, .threads = block}, launch, norm);
}

template <NormOf kOf>
void launch_norm(const Norm& norm, const MutableProductRows& out, const Launch& launch) {
  constexpr std::int64_t kWarpColumns = 1024;  // beyond, a warp's row takes too many turns
  if (norm.x.rows == 0) return;
  const Rows weight(norm.weight, 1, norm.x.cols);
  bool wide = packs_fit(norm.x, kWide) && packs_fit_product(out, kWide) && packs_fit(weight, kWide);
  if (kOf == NormOf::GatedX) wide = wide && packs_fit(norm.gate, kWide);
  if (kOf == NormOf::Sum) {
    wide = wide && packs_fit(norm.y, kWide) && packs_fit(norm.sum, kWide) &&
           (norm.z.data == nullptr || packs_fit(norm.z, kWide));
  }
  if (norm.x.cols <= kWarpColumns) return launch_norm_by<kWarp, kOf>(norm, wide, launch);
  // Few rows leave the device idle: then all that counts is how soon a row is done.
  if (norm.x.rows <= launch.device.multiprocessors)
    return launch_norm_by<1024, kOf>(norm, wide, launch);
  launch_norm_by<256, kOf>(norm, wide, launch);
}

}  // namespace

void embedding(const Embedding& op, const Launch& launch) {
  switch (op.table.format) {
    case Matrix::Format::F32:
      return embedding_of<float>(op, launch);
    case Matrix::Format::BF16:
      return embedding_of<bf16>(op, launch);
    case Matrix::Format::F16:
      return embedding_of<f16>(op, launch);
    case Matrix::Format::Tiles:
      break;
  }
  throw Error(ErrorCode::InvalidArgument, "embedding: a table of tiles cannot be read by rows");
}

void rms_norm(const RmsNorm& op, const Launch& launch) {
  launch_norm<NormOf::X>({op.x, {}, op.weight.data(), op.eps, ProductTarget(op.out)}, op.out,
                         launch);
}

void gated_rms_norm(const GatedRmsNorm& op, const Launch& launch) {
  launch_norm<NormOf::GatedX>({op.x, op.gate, op.weight.data(), op.eps, ProductTarget(op.out)},
                              op.out, launch);
}

void add_norm(const AddNorm& op, const Launch& launch) {
  const Rows z = op.z.rows > 0 ? op.z : Rows{};
  const ProductTarget out(op.out);
  launch_norm<NormOf::Sum>({op.x, {}, op.weight.data(), op.eps, out, op.y, z, op.sum}, op.out,
                           launch);
}

void add(const Add& op, const Launch& launch) {
  const AddRow each{op.x, op.y, op.z.rows > 0 ? op.z : Rows{}, op.out};
  const bool z_fits = op.z.rows == 0 || packs_fit(op.z, kWide);
  if (packs_fit(op.x, kWide) && packs_fit(op.y, kWide) && z_fits && packs_fit(op.out, kWide)) {
    launch_packs<kWide>(each, op.x.rows, op.x.cols, launch);
  } else {
    launch_packs<1>(each, op.x.rows, op.x.cols, launch);
  }
  check_launch("add");
}

void copy(const Copy& op, const Launch& launch) {
  const CopyRow each{op.x, op.out};
  if (packs_fit(op.x, kWide) && packs_fit(op.out, kWide)) {
    launch_packs<kWide>(each, op.x.rows, op.x.cols, launch);
  } else {
    launch_packs<1>(each, op.x.rows, op.x.cols, launch);
  }
  check_launch("copy");
}

void sigmoid_multiply(const SigmoidMultiply& op, const Launch& launch) {
  const SigmoidMultiplyRow each{op.x, op.gate, ProductTarget(op.out)};
  const bool wide = packs_fit(op.x, kWide) && packs_fit_product(op.out, kWide) &&
                    (op.gate.cols == 1 || packs_fit(op.gate, kWide));
  if (wide) {
    launch_packs<kWide>(each, op.x.rows, op.x.cols, launch);
  } else {
    launch_packs<1>(each, op.x.rows, op.x.cols, launch);
  }
  check_launch("sigmoid_multiply");
}

}  // namespace krasis::cuda
