// The CPU's kernels in F32: everything but products with tiled matrices (tile_kernels.h). One row
// of the table is one instruction set. A kernel is single-threaded; how work is cut into jobs is
// decided in linear.cpp, attention.cpp and so on, and never changes a result: each number that
// comes out has one order of summation, whatever job it was computed in.
//
// To add a row: write vector_<isa>.cpp, declare its table here, add it to vector_table.cpp. The
// conformance tests and the benchmark run every row that the processor supports.
//
// Files built for one instruction set include vector_templates.h and <immintrin.h>, nothing else:
// an inline function they emit may be the copy the linker keeps for everybody.
#pragma once

#include <cstddef>
#include <cstdint>

namespace krasis::cpu {

struct Features;

enum class Element : std::uint8_t { F32, BF16, F16, E4M3 };

// out[r][n] = sum_k x[r][k] * weights[n][k] + bias[n]
// Lane l of a vector sums the columns l, l + width, ...; lanes are added, and then the sums of
// kDotBlock columns each, in ascending order.
constexpr std::int64_t kDotBlock = 1024;  // 4 rows of x (16 KiB) and some of weights fit the L1
struct DotProducts {
  const float* const* x;  // [rows], each [columns]
  std::int64_t rows;
  Element element;
  const void* weights;  // [outputs, columns]
  std::int64_t weight_stride;
  std::int64_t outputs;
  std::int64_t columns;
  const float* bias;  // [outputs], or nullptr
  float* const* out;  // [rows], each [outputs]
  // Memory that the caller wants next, to be fetched meanwhile, or nullptr and 0.
  const void* next = nullptr;
  std::int64_t next_bytes = 0;
};

// out[r][c] += sum_i weights[r][i] * values[i][c], i ascending.
struct ValueSum {
  const float* weights;  // [rows, tokens]
  std::int64_t weight_stride;
  std::int64_t rows;
  Element element;
  const void* values;  // [tokens, columns]
  std::int64_t value_stride;
  std::int64_t tokens;
  std::int64_t columns;
  float* out;  // [rows, columns]
  std::int64_t out_stride;
};

// scores[i] = exp(scale * scores[i] - largest) for i < visible, 0 for visible <= i < count.
struct ScoreExp {
  float* scores;
  std::int64_t visible;  // > 0
  std::int64_t count;
  float scale;
  float largest;  // comes out
  float sum;      // of the exponentials; comes out
};

// out = x / sqrt(mean x^2 + eps) * weight, times silu(gate) if there is a gate. out may be x.
struct NormRow {
  const float* x;
  const float* weight;
  const float* gate;  // or nullptr
  float eps;
  std::int64_t columns;
  float* out;
};

// out = x * factor / sqrt(sum x^2 + eps)
struct L2NormRow {
  const float* x;
  float eps;
  float factor;
  std::int64_t columns;
  float* out;
};

// out[c] = silu(sum_j weights[j][c] * taps[j][c]), j ascending.
struct ConvRow {
  const float* const* taps;  // [width], each [columns]
  const float* weights;      // [width, columns]
  std::int64_t width;
  std::int64_t columns;
  float* out;
};

// The recurrence of ops/delta_net.h for one value head, or some columns of it.
struct DeltaTokens {
  float* state;  // [key_dim, columns]
  std::int64_t state_stride;
  std::int64_t key_dim;
  std::int64_t columns;
  std::int64_t tokens;
  const float* q;  // [tokens, key_dim], normalised and scaled
  const float* k;  // [tokens, key_dim], normalised
  const float* v;  // [tokens, columns]
  std::int64_t v_stride;
  const float* decay;  // [tokens], exp(log_decay)
  const float* beta;   // [tokens]
  float* out;          // [tokens, columns]
  std::int64_t out_stride;
};

struct VectorKernels {
  const char* name;
  void (*dot_products)(const DotProducts& job);
  void (*value_sum)(const ValueSum& job);
  void (*score_exp)(ScoreExp& job);
  void (*norm_row)(const NormRow& job);
  void (*l2_norm_row)(const L2NormRow& job);
  void (*conv_row)(const ConvRow& job);
  void (*delta_tokens)(const DeltaTokens& job);
  void (*widen)(const void* values, Element element, std::int64_t count, float* out);
  void (*narrow_bf16)(const float* values, std::int64_t count, std::uint16_t* out);
  void (*narrow_e4m3)(const float* values, std::int64_t count, std::uint8_t* out);
  void (*add)(const float* x, const float* y, std::int64_t count, float* out);
  // sum = sum * factor + values * weight
  void (*blend)(float* sum, float factor, const float* values, float weight, std::int64_t count);
  // out = x * sigmoid(gate); a gate step of 0 uses one gate for all
  void (*sigmoid_multiply)(const float* x, const float* gate, bool one_gate, std::int64_t count,
                           float* out);
  void (*silu_multiply)(const float* gate, const float* up, std::int64_t count, float* out);
};

extern const VectorKernels kVectorPortable;
extern const VectorKernels kVectorAvx2;
extern const VectorKernels kVectorAvx512;

// One row per instruction set, fastest first; the last row runs anywhere.
struct VectorRow {
  const VectorKernels* kernels;
  bool (*runs_on)(const Features& features);
};
struct VectorTable {
  const VectorRow* first;
  std::size_t count;
  const VectorRow* begin() const { return first; }
  const VectorRow* end() const { return first + count; }
};
VectorTable vector_table();
// The first row that this processor can run.
const VectorKernels& best_vector_kernels();

}  // namespace krasis::cpu
