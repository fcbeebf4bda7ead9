#include "cuda/rotary.h"
#include "cuda/row_grid.cuh"

namespace krasis::cuda {
namespace {

struct TableRow {
  const std::int32_t* positions;
  const float* frequencies;
  float scale;
  MutableRows cosine, sine;

  template <int kWidth>
  __device__ void apply(std::int64_t row, std::int64_t column) const {
    static_assert(kWidth == 1);
    const float angle = __fmul_rn(static_cast<float>(positions[row]), frequencies[column]);
    // sincosf reduces large arguments exactly; only -use_fast_math would not.
    float s, c;
    sincosf(angle, &s, &c);
    cosine.data[row * cosine.stride + column] = scale * c;
    sine.data[row * sine.stride + column] = scale * s;
  }
};

template <bool kInterleaved>
struct RotateRow {
  Rows x, cosine, sine;
  std::int64_t heads;
  MutableRows out;

  // `column` counts pairs.
  template <int kWidth>
  __device__ void apply(std::int64_t row, std::int64_t column) const {
    const std::int64_t token = static_cast<unsigned>(row) / static_cast<unsigned>(heads);
    const auto c = load_pack<kWidth>(cosine.data + token * cosine.stride + column);
    const auto s = load_pack<kWidth>(sine.data + token * sine.stride + column);
    const float* const numbers = x.data + row * x.stride;
    float* const to = out.data + row * out.stride;
    if constexpr (kInterleaved) {
      auto pairs = load_pack<2 * kWidth>(numbers + 2 * column);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) rotate(pairs.v[2 * i], pairs.v[2 * i + 1], c.v[i], s.v[i]);
      store_pack(to + 2 * column, pairs);
    } else {
      auto a = load_pack<kWidth>(numbers + column);
      auto b = load_pack<kWidth>(numbers + column + cosine.cols);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) rotate(a.v[i], b.v[i], c.v[i], s.v[i]);
      store_pack(to + column, a);
      store_pack(to + column + cosine.cols, b);
    }
  }

  __device__ static void rotate(float& a, float& b, float c, float s) {
    const float first = a * c - b * s;
    b = b * c + a * s;
    a = first;
  }
};

// Pairs one by one, at any address.
struct RotatePair {
  Rows x, cosine, sine;
  std::int64_t heads, step, distance;  // pair i is x[step * i] and x[step * i + distance]
  MutableRows out;

  template <int kWidth>
  __device__ void apply(std::int64_t row, std::int64_t column) const {
    static_assert(kWidth == 1);
    const std::int64_t token = row / heads;
    const float* const from = x.data + row * x.stride + step * column;
    float* const to = out.data + row * out.stride + step * column;
    float a = from[0], b = from[distance];
    RotateRow<false>::rotate(a, b, cosine.data[token * cosine.stride + column],
                             sine.data[token * sine.stride + column]);
    to[0] = a;
    to[distance] = b;
  }
};

}  // namespace

void rotary_table(const RotaryTable& op, const Launch& launch) {
  launch_packs<1>(
      TableRow{op.positions.data(), op.frequencies.data(), op.scale, op.cosine, op.sine},
      op.cosine.rows, op.cosine.cols, launch);
  check_launch("rotary_table");
}

void rotary(const Rotary& op, const Launch& launch) {
  const std::int64_t half = op.cosine.cols;
  const int width = op.interleaved ? 2 : 4;  // pairs a thread: 16 bytes of x an access
  const bool wide = packs_fit(op.cosine, width) && packs_fit(op.sine, width) &&
                    packs_fit(op.x, 4) && packs_fit(op.out, 4) &&
                    op.x.rows < (std::int64_t{1} << 31) && op.heads < (std::int64_t{1} << 31);
  if (wide && op.interleaved) {
    launch_packs<2>(RotateRow<true>{op.x, op.cosine, op.sine, op.heads, op.out}, op.x.rows, half,
                    launch);
  } else if (wide) {
    launch_packs<4>(RotateRow<false>{op.x, op.cosine, op.sine, op.heads, op.out}, op.x.rows, half,
                    launch);
  } else {
    launch_packs<1>(RotatePair{op.x, op.cosine, op.sine, op.heads, op.interleaved ? 2 : 1,
                               op.interleaved ? 1 : half, op.out},
                    op.x.rows, half, launch);
  }
  check_launch("rotary");
}

}  // namespace krasis::cuda
