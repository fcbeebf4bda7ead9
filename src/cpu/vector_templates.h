// The kernels of vector_kernels.h written once, over a type V that wraps one instruction set's
// vectors. V is in an anonymous namespace of the file that includes this, so that everything here
// is that file's own. Includes nothing that emits code.
//
// V has: Float (a vector of kWidth F32), zero, set(x), load(p), load_first(p, n) with zeros behind,
// for float, BrainBits, HalfBits and QuarterBits; store, store_first; add, sub, mul, div, fma(a, b,
// c) = a * b + c; max and min (the second operand if one is NaN); sum, sum_four (of four vectors,
// in the same order) and largest over the lanes; round (to nearest even), power_of_two(whole
// number); store_brain_first, store_quarter_first.
#pragma once

#include "cpu/vector_kernels.h"

// NOLINTBEGIN(modernize-avoid-c-arrays): std::array's functions would be emitted for one
// instruction set, see vector_kernels.h.
namespace krasis::cpu {

struct BrainBits {
  std::uint16_t bits;
};
struct HalfBits {
  std::uint16_t bits;
};
struct QuarterBits {  // base/float8.h
  std::uint8_t bits;
};

// exp(x) to about 1 unit in the last place, NaN for NaN; below e^-87 and above e^88 the bound's.
// x = n ln 2 + r, |r| <= ln 2 / 2; the Taylor series of exp(r) leaves out r^8 / 8! < 6e-9.
template <class V>
typename V::Float exponential(typename V::Float x) {
  const auto clamped = V::min(V::set(88.0F), V::max(V::set(-87.0F), x));
  const auto n = V::round(V::mul(clamped, V::set(1.44269504F)));
  // ln 2 in two parts; n times the first is exact.
  auto r = V::fma(n, V::set(-0.693359375F), clamped);
  r = V::fma(n, V::set(2.12194440e-4F), r);
  auto e = V::set(1.0F / 5040);
  e = V::fma(e, r, V::set(1.0F / 720));
  e = V::fma(e, r, V::set(1.0F / 120));
  e = V::fma(e, r, V::set(1.0F / 24));
  e = V::fma(e, r, V::set(1.0F / 6));
  e = V::fma(e, r, V::set(0.5F));
  e = V::fma(e, r, V::set(1.0F));
  e = V::fma(e, r, V::set(1.0F));
  return V::mul(e, V::power_of_two(n));
}

// z / (1 + exp(-z)) and 1 / (1 + exp(-z))
template <class V>
typename V::Float silu(typename V::Float z) {
  return V::div(z, V::add(V::set(1), exponential<V>(V::sub(V::zero(), z))));
}
template <class V>
typename V::Float sigmoid(typename V::Float z) {
  return V::div(V::set(1), V::add(V::set(1), exponential<V>(V::sub(V::zero(), z))));
}

// Calls body(first, lanes) over [0, count) in steps of a vector; lanes < kWidth only at the end.
template <class V, class Body>
void for_vectors(std::int64_t count, Body&& body) {
  std::int64_t i = 0;
  for (; i + V::kWidth <= count; i += V::kWidth) body(i, V::kWidth);
  if (i < count) body(i, static_cast<int>(count - i));
}

template <class V, class E>
typename V::Float load_lanes(const E* values, int lanes) {
  return lanes == V::kWidth ? V::load(values) : V::load_first(values, lanes);
}
template <class V>
void store_lanes(float* out, typename V::Float values, int lanes) {
  if (lanes == V::kWidth) {
    V::store(out, values);
  } else {
    V::store_first(out, values, lanes);
  }
}

// ---- products

// Rows times Outputs sums in registers.
template <class V, class E, int Rows, int Outputs>
void dot_tile(const float* const* x, const E* weights, std::int64_t stride, std::int64_t columns,
              float* sums) {
  typename V::Float acc[Rows][Outputs];
  for (int r = 0; r < Rows; ++r)
    for (int n = 0; n < Outputs; ++n) acc[r][n] = V::zero();
  std::int64_t k = 0;
  for (; k + V::kWidth <= columns; k += V::kWidth) {
    typename V::Float w[Outputs];
    for (int n = 0; n < Outputs; ++n) w[n] = V::load(weights + n * stride + k);
    for (int r = 0; r < Rows; ++r) {
      const auto xr = V::load(x[r] + k);
      for (int n = 0; n < Outputs; ++n) acc[r][n] = V::fma(xr, w[n], acc[r][n]);
    }
  }
  if (k < columns) {
    const int lanes = static_cast<int>(columns - k);
    for (int n = 0; n < Outputs; ++n) {
      const auto w = V::load_first(weights + n * stride + k, lanes);
      for (int r = 0; r < Rows; ++r)
        acc[r][n] = V::fma(V::load_first(x[r] + k, lanes), w, acc[r][n]);
    }
  }
  // Four sums share the additions across lanes.
  constexpr int kCount = Rows * Outputs;
  constexpr int kFours = kCount / 4 * 4;
  for (int i = 0; i < kFours; i += 4) {
    V::sum_four(acc[i / Outputs][i % Outputs], acc[(i + 1) / Outputs][(i + 1) % Outputs],
                acc[(i + 2) / Outputs][(i + 2) % Outputs],
                acc[(i + 3) / Outputs][(i + 3) % Outputs], sums + i);
  }
  for (int i = kFours; i < kCount; ++i) sums[i] = V::sum(acc[i / Outputs][i % Outputs]);
}

// Memory that will be wanted after a product, fetched little by little while it runs.
struct Ahead {
  const char* at;
  std::int64_t lines;
  std::int64_t lines_of_tile;

  void fetch() {
    for (std::int64_t i = 0; i < lines_of_tile && lines > 0; ++i, --lines, at += 64)
      __builtin_prefetch(at, 0, 2);
  }
};

// One block of columns, from `first_column`, of Rows rows.
template <class V, class E, int Rows, int Outputs>
void dot_rows(const DotProducts& job, std::int64_t first_row, std::int64_t first_column,
              Ahead& ahead) {
  const std::int64_t left = job.columns - first_column;
  const std::int64_t columns = left < kDotBlock ? left : kDotBlock;
  const float* bias = left <= kDotBlock ? job.bias : nullptr;
  const E* weights = static_cast<const E*>(job.weights) + first_column;
  const float* x[Rows];
  float* out[Rows];
  for (int r = 0; r < Rows; ++r) {
    x[r] = job.x[first_row + r] + first_column;
    out[r] = job.out[first_row + r];
  }
  const auto finish = [&](std::int64_t n, int r, float sum) {
    if (first_column > 0) sum = out[r][n] + sum;
    out[r][n] = bias == nullptr ? sum : sum + bias[n];
  };
  std::int64_t n = 0;
  for (; n + Outputs <= job.outputs; n += Outputs) {
    float sums[Rows * Outputs];
    dot_tile<V, E, Rows, Outputs>(x, weights + n * job.weight_stride, job.weight_stride, columns,
                                  sums);
    ahead.fetch();
    for (int r = 0; r < Rows; ++r)
      for (int o = 0; o < Outputs; ++o) finish(n + o, r, sums[r * Outputs + o]);
  }
  for (; n < job.outputs; ++n) {
    float sums[Rows];
    dot_tile<V, E, Rows, 1>(x, weights + n * job.weight_stride, job.weight_stride, columns, sums);
    for (int r = 0; r < Rows; ++r) finish(n, r, sums[r]);
  }
}

template <class V, class E>
void dot_products_of(const DotProducts& job) {
  const std::int64_t lines = job.next_bytes / 64;
  const std::int64_t tiles = (job.rows + 3) / 4 * (job.outputs / V::kOutputsOf4 + 1);
  Ahead ahead{static_cast<const char*>(job.next), lines, (lines + tiles - 1) / tiles};
  for (std::int64_t column = 0; column < job.columns; column += kDotBlock) {
    std::int64_t row = 0;
    for (; row + 4 <= job.rows; row += 4)
      dot_rows<V, E, 4, V::kOutputsOf4>(job, row, column, ahead);
    switch (job.rows - row) {
      case 1:
        dot_rows<V, E, 1, V::kOutputsOf1>(job, row, column, ahead);
        break;
      case 2:
        dot_rows<V, E, 2, V::kOutputsOf2>(job, row, column, ahead);
        break;
      case 3:
        dot_rows<V, E, 3, V::kOutputsOf3>(job, row, column, ahead);
        break;
      default:
        break;
    }
  }
}

template <class V>
void dot_products(const DotProducts& job) {
  switch (job.element) {
    case Element::F32:
      dot_products_of<V, float>(job);
      break;
    case Element::BF16:
      dot_products_of<V, BrainBits>(job);
      break;
    case Element::F16:
      dot_products_of<V, HalfBits>(job);
      break;
    case Element::E4M3:
      dot_products_of<V, QuarterBits>(job);
      break;
  }
}

// ---- attention

template <class V, class E, int Rows, int Vectors>
void value_tile(const ValueSum& job, std::int64_t first_row, std::int64_t first_column) {
  float* out = job.out + first_row * job.out_stride + first_column;
  const float* weights = job.weights + first_row * job.weight_stride;
  const E* values = static_cast<const E*>(job.values) + first_column;
  typename V::Float acc[Rows][Vectors];
  for (int r = 0; r < Rows; ++r)
    for (int c = 0; c < Vectors; ++c) acc[r][c] = V::load(out + r * job.out_stride + c * V::kWidth);
  for (std::int64_t i = 0; i < job.tokens; ++i, values += job.value_stride) {
    typename V::Float value[Vectors];
    for (int c = 0; c < Vectors; ++c) value[c] = V::load(values + c * V::kWidth);
    for (int r = 0; r < Rows; ++r) {
      const auto weight = V::set(weights[r * job.weight_stride + i]);
      for (int c = 0; c < Vectors; ++c) acc[r][c] = V::fma(weight, value[c], acc[r][c]);
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int c = 0; c < Vectors; ++c) V::store(out + r * job.out_stride + c * V::kWidth, acc[r][c]);
}

// The columns that fill no vector.
template <class V, class E>
void value_tail(const ValueSum& job, std::int64_t row, std::int64_t first_column) {
  const int lanes = static_cast<int>(job.columns - first_column);
  float* out = job.out + row * job.out_stride + first_column;
  const E* values = static_cast<const E*>(job.values) + first_column;
  auto acc = V::load_first(out, lanes);
  for (std::int64_t i = 0; i < job.tokens; ++i, values += job.value_stride) {
    const auto weight = V::set(job.weights[row * job.weight_stride + i]);
    acc = V::fma(weight, V::load_first(values, lanes), acc);
  }
  V::store_first(out, acc, lanes);
}

template <class V, class E, int Rows>
void value_rows(const ValueSum& job, std::int64_t row) {
  std::int64_t column = 0;
  constexpr std::int64_t kWide = V::kValueVectors * V::kWidth;
  for (; column + kWide <= job.columns; column += kWide)
    value_tile<V, E, Rows, V::kValueVectors>(job, row, column);
  for (; column + V::kWidth <= job.columns; column += V::kWidth)
    value_tile<V, E, Rows, 1>(job, row, column);
  if (column < job.columns)
    for (int r = 0; r < Rows; ++r) value_tail<V, E>(job, row + r, column);
}

template <class V, class E>
void value_sum_of(const ValueSum& job) {
  std::int64_t row = 0;
  for (; row + 4 <= job.rows; row += 4) value_rows<V, E, 4>(job, row);
  for (; row < job.rows; ++row) value_rows<V, E, 1>(job, row);
}

template <class V>
void value_sum(const ValueSum& job) {
  switch (job.element) {
    case Element::F32:
      value_sum_of<V, float>(job);
      break;
    case Element::BF16:
      value_sum_of<V, BrainBits>(job);
      break;
    case Element::F16:
      value_sum_of<V, HalfBits>(job);
      break;
    case Element::E4M3:
      value_sum_of<V, QuarterBits>(job);
      break;
  }
}

template <class V>
void score_exp(ScoreExp& job) {
  const auto scale = V::set(job.scale);
  auto largest = V::set(job.scale * job.scores[0]);
  std::int64_t i = 0;
  for (; i + V::kWidth <= job.visible; i += V::kWidth)
    largest = V::max(largest, V::mul(V::load(job.scores + i), scale));
  job.largest = V::largest(largest);
  for (; i < job.visible; ++i) {
    const float score = job.scores[i] * job.scale;
    job.largest = score > job.largest ? score : job.largest;
  }
  const auto shift = V::set(-job.largest);
  auto sum = V::zero();
  for_vectors<V>(job.visible, [&](std::int64_t first, int lanes) {
    const auto score = load_lanes<V>(job.scores + first, lanes);
    const auto weight = exponential<V>(V::fma(score, scale, shift));
    store_lanes<V>(job.scores + first, weight, lanes);
    sum = V::add(sum, load_lanes<V>(job.scores + first, lanes));
  });
  for (i = job.visible; i < job.count; ++i) job.scores[i] = 0;
  job.sum = V::sum(sum);
}

// ---- rows

template <class V>
float sum_of_squares(const float* x, std::int64_t columns) {
  auto sum = V::zero();
  for_vectors<V>(columns, [&](std::int64_t first, int lanes) {
    const auto value = load_lanes<V>(x + first, lanes);
    sum = V::fma(value, value, sum);
  });
  return V::sum(sum);
}

template <class V>
void norm_row(const NormRow& job) {
  const float mean = sum_of_squares<V>(job.x, job.columns) / static_cast<float>(job.columns);
  const auto scale = V::set(1.0F / V::root(mean + job.eps));
  for_vectors<V>(job.columns, [&](std::int64_t first, int lanes) {
    const auto scaled = V::mul(load_lanes<V>(job.x + first, lanes), scale);
    auto value = V::mul(scaled, load_lanes<V>(job.weight + first, lanes));
    if (job.gate != nullptr) value = V::mul(value, silu<V>(load_lanes<V>(job.gate + first, lanes)));
    store_lanes<V>(job.out + first, value, lanes);
  });
}

template <class V>
void l2_norm_row(const L2NormRow& job) {
  const float length = V::root(sum_of_squares<V>(job.x, job.columns) + job.eps);
  const auto scale = V::set(job.factor / length);
  for_vectors<V>(job.columns, [&](std::int64_t first, int lanes) {
    store_lanes<V>(job.out + first, V::mul(load_lanes<V>(job.x + first, lanes), scale), lanes);
  });
}

template <class V>
void conv_row(const ConvRow& job) {
  for_vectors<V>(job.columns, [&](std::int64_t first, int lanes) {
    auto sum = V::zero();
    for (std::int64_t j = 0; j < job.width; ++j) {
      sum = V::fma(load_lanes<V>(job.weights + j * job.columns + first, lanes),
                   load_lanes<V>(job.taps[j] + first, lanes), sum);
    }
    store_lanes<V>(job.out + first, silu<V>(sum), lanes);
  });
}

template <class V>
void add(const float* x, const float* y, std::int64_t count, float* out) {
  for_vectors<V>(count, [&](std::int64_t first, int lanes) {
    store_lanes<V>(out + first,
                   V::add(load_lanes<V>(x + first, lanes), load_lanes<V>(y + first, lanes)), lanes);
  });
}

template <class V>
void blend(float* sum, float factor, const float* values, float weight, std::int64_t count) {
  for_vectors<V>(count, [&](std::int64_t first, int lanes) {
    const auto kept = V::mul(load_lanes<V>(sum + first, lanes), V::set(factor));
    store_lanes<V>(sum + first, V::fma(load_lanes<V>(values + first, lanes), V::set(weight), kept),
                   lanes);
  });
}

template <class V>
void sigmoid_multiply(const float* x, const float* gate, bool one_gate, std::int64_t count,
                      float* out) {
  const auto all = one_gate ? sigmoid<V>(V::set(gate[0])) : V::zero();
  for_vectors<V>(count, [&](std::int64_t first, int lanes) {
    const auto factor = one_gate ? all : sigmoid<V>(load_lanes<V>(gate + first, lanes));
    store_lanes<V>(out + first, V::mul(load_lanes<V>(x + first, lanes), factor), lanes);
  });
}

template <class V>
void silu_multiply(const float* gate, const float* up, std::int64_t count, float* out) {
  for_vectors<V>(count, [&](std::int64_t first, int lanes) {
    const auto value = silu<V>(load_lanes<V>(gate + first, lanes));
    store_lanes<V>(out + first, V::mul(value, load_lanes<V>(up + first, lanes)), lanes);
  });
}

template <class V, class E>
void widen_of(const E* values, std::int64_t count, float* out) {
  for_vectors<V>(count, [&](std::int64_t first, int lanes) {
    store_lanes<V>(out + first, load_lanes<V>(values + first, lanes), lanes);
  });
}

template <class V>
void widen(const void* values, Element element, std::int64_t count, float* out) {
  switch (element) {
    case Element::F32:
      widen_of<V>(static_cast<const float*>(values), count, out);
      break;
    case Element::BF16:
      widen_of<V>(static_cast<const BrainBits*>(values), count, out);
      break;
    case Element::F16:
      widen_of<V>(static_cast<const HalfBits*>(values), count, out);
      break;
    case Element::E4M3:
      widen_of<V>(static_cast<const QuarterBits*>(values), count, out);
      break;
  }
}

template <class V>
void narrow_bf16(const float* values, std::int64_t count, std::uint16_t* out) {
  for_vectors<V>(count, [&](std::int64_t first, int lanes) {
    V::store_brain_first(out + first, load_lanes<V>(values + first, lanes), lanes);
  });
}

template <class V>
void narrow_e4m3(const float* values, std::int64_t count, std::uint8_t* out) {
  for_vectors<V>(count, [&](std::int64_t first, int lanes) {
    V::store_quarter_first(out + first, load_lanes<V>(values + first, lanes), lanes);
  });
}

// ---- delta net

// Vectors * kWidth columns (the last vector `lanes` wide) through all tokens. Each token takes one
// pass over the state, which also multiplies it by the next token's key.
template <class V, int Vectors>
void delta_columns(const DeltaTokens& job, std::int64_t first, int lanes) {
  const auto load = [&](const float* at, int c) {
    return c + 1 < Vectors ? V::load(at + c * V::kWidth) : load_lanes<V>(at + c * V::kWidth, lanes);
  };
  const auto store = [&](float* at, int c, typename V::Float value) {
    if (c + 1 < Vectors) {
      V::store(at + c * V::kWidth, value);
    } else {
      store_lanes<V>(at + c * V::kWidth, value, lanes);
    }
  };
  float* state = job.state + first;
  typename V::Float remembered[Vectors];
  for (int c = 0; c < Vectors; ++c) remembered[c] = V::zero();
  for (std::int64_t r = 0; r < job.key_dim; ++r) {
    const auto k = V::set(job.k[r]);
    for (int c = 0; c < Vectors; ++c)
      remembered[c] = V::fma(k, load(state + r * job.state_stride, c), remembered[c]);
  }
  for (std::int64_t t = 0; t < job.tokens; ++t) {
    const float* k = job.k + t * job.key_dim;
    const float* q = job.q + t * job.key_dim;
    const float* next_k = t + 1 < job.tokens ? k + job.key_dim : k;
    const auto decay = V::set(job.decay[t]);
    typename V::Float change[Vectors], out[Vectors], next[Vectors];
    for (int c = 0; c < Vectors; ++c) {
      const auto v = load(job.v + t * job.v_stride + first, c);
      change[c] = V::mul(V::set(job.beta[t]), V::sub(v, V::mul(decay, remembered[c])));
      out[c] = V::zero();
      next[c] = V::zero();
    }
    for (std::int64_t r = 0; r < job.key_dim; ++r) {
      float* row = state + r * job.state_stride;
      const auto key = V::set(k[r]);
      const auto query = V::set(q[r]);
      const auto next_key = V::set(next_k[r]);
      for (int c = 0; c < Vectors; ++c) {
        const auto value = V::fma(key, change[c], V::mul(decay, load(row, c)));
        out[c] = V::fma(query, value, out[c]);
        next[c] = V::fma(next_key, value, next[c]);
        store(row, c, value);
      }
    }
    for (int c = 0; c < Vectors; ++c) {
      store(job.out + t * job.out_stride + first, c, out[c]);
      remembered[c] = next[c];
    }
  }
}

template <class V>
void delta_tokens(const DeltaTokens& job) {
  constexpr int kVectors = 4;  // of 16 registers 4 each for change, out and next, and 4 operands
  std::int64_t first = 0;
  for (; first + kVectors * V::kWidth <= job.columns; first += kVectors * V::kWidth)
    delta_columns<V, kVectors>(job, first, V::kWidth);
  for (; first < job.columns; first += V::kWidth) {
    const std::int64_t left = job.columns - first;
    delta_columns<V, 1>(job, first, left < V::kWidth ? static_cast<int>(left) : V::kWidth);
  }
}

// A row of the table.
template <class V>
constexpr VectorKernels vector_kernels(const char* name) {
  return {.name = name,
          .dot_products = dot_products<V>,
          .value_sum = value_sum<V>,
          .score_exp = score_exp<V>,
          .norm_row = norm_row<V>,
          .l2_norm_row = l2_norm_row<V>,
          .conv_row = conv_row<V>,
          .delta_tokens = delta_tokens<V>,
          .widen = widen<V>,
          .narrow_bf16 = narrow_bf16<V>,
          .narrow_e4m3 = narrow_e4m3<V>,
          .add = add<V>,
          .blend = blend<V>,
          .sigmoid_multiply = sigmoid_multiply<V>,
          .silu_multiply = silu_multiply<V>};
}

}  // namespace krasis::cpu
// NOLINTEND(modernize-avoid-c-arrays)
