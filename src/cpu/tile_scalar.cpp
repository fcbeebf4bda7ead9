#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/tile_kernels.h"

namespace krasis::cpu {
namespace {

constexpr int kStrip = 64;
constexpr int kTile = 16;
using Strip = std::array<float, kStrip>;

float bf16_value(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

float exponential(float value) {
  float x = kLowestExponent < value ? value : kLowestExponent;
  x = x < kHighestExponent ? x : kHighestExponent;
  const float n = std::nearbyint(x * kLog2E);
  const float r = std::fma(n, -kLn2Low, std::fma(n, -kLn2High, x));
  float polynomial = kExpTaylor[0];
  for (int term = 1; term < kExpTerms; ++term)
    polynomial = std::fma(polynomial, r, kExpTaylor[term]);
  return polynomial * std::bit_cast<float>((static_cast<std::int32_t>(n) + 127) << 23);
}

// Adds one k-tile to the sums of 64 rows, in the order of the scales: [a][half][i].
void add_tile(const std::uint8_t* tile, int bits, const std::int8_t* q, std::int32_t* sums) {
  for (int lane = 0; lane < 32; ++lane) {
    const std::int8_t* x = q + lane % 4 * 4;
    for (int i = 0; i < 4; ++i) {
      for (int half = 0; half < 2; ++half) {
        std::int32_t& sum = sums[lane / 4 * 8 + half * 4 + i];
        for (int c = 0; c < 4; ++c) {
          const int stored = bits == 4 ? (tile[lane * 16 + i * 4 + c] >> (4 * half)) & 15
                                       : tile[lane * 32 + i * 8 + half * 4 + c];
          sum += stored * x[c];
        }
      }
    }
  }
}

Strip strip_of(const TileProduct& job, std::int64_t strip, std::int64_t row) {
  const std::int64_t groups = job.columns / job.group;
  const std::int64_t tile_bytes = kStrip * kTile * job.bits / 8;
  const std::uint8_t* tile = job.tiles + strip * (job.columns / kTile) * tile_bytes;
  const std::uint16_t* scales = job.scales + strip * groups * kStrip;
  const std::int8_t* q = job.q + row * job.columns;
  Strip result{};
  for (std::int64_t g = 0; g < groups; ++g, scales += kStrip) {
    std::array<std::int32_t, kStrip> sums{};
    for (int k = 0; k < job.group; k += kTile, tile += tile_bytes, q += kTile)
      add_tile(tile, job.bits, q, sums.data());
    for (int n = 0; n < kStrip; ++n) {
      const auto at = static_cast<std::size_t>(n);
      const float dot = static_cast<float>(sums[at] - job.x_offsets[row * groups + g]);
      result[at] =
          std::fma(dot, bf16_value(scales[n]) * job.x_scales[row * groups + g], result[at]);
    }
  }
  return result;
}

}  // namespace

void tile_product_scalar(const TileProduct& job) {
  const int width = job.gated ? kStrip / 2 : kStrip;
  for (std::int64_t strip = 0; strip < job.strips; ++strip) {
    for (std::int64_t t = 0; t < job.rows; ++t) {
      const Strip sums = strip_of(job, strip, job.in_rows[t]);
      Strip rows{};
      for (std::size_t a = 0; a < 8; ++a) {
        for (std::size_t i = 0; i < 4; ++i) {
          const float first = sums[a * 8 + i];
          const float second = sums[a * 8 + 4 + i];
          if (job.gated) {
            rows[8 * i + a] = first / (1.0F + exponential(-first)) * second;
          } else {
            rows[16 * i + a] = first;
            rows[16 * i + 8 + a] = second;
          }
        }
      }
      const std::int64_t left = std::min<std::int64_t>(job.out_columns - strip * width, width);
      if (left <= 0) continue;
      std::memcpy(job.out + job.out_rows[t] * job.out_stride + strip * width, rows.data(),
                  static_cast<std::size_t>(left) * sizeof(float));
    }
  }
}

void tile_activations_scalar(const TileActivations& job) {
  for (std::int64_t first = 0; first < job.padded; first += job.group) {
    const std::int64_t g = first / job.group;
    const std::int64_t last = std::min(first + job.group, job.columns);
    bool finite = true;
    float largest = 0;
    for (std::int64_t k = first; k < last; ++k) {
      finite = finite && std::isfinite(job.x[k]);
      largest = std::max(largest, std::abs(job.x[k]));
    }
    const bool zero = !finite || largest < kTinyActivation;
    const float inverse = zero ? 0 : 127.0F / largest;
    job.scales[g] = zero ? 0 : largest / 127.0F;
    if (!finite) job.scales[g] = std::numeric_limits<float>::quiet_NaN();
    std::int32_t sum = 0;
    for (std::int64_t k = first; k < first + job.group; ++k) {
      const float scaled = k < last && !zero ? job.x[k] * inverse : 0;
      const auto q = static_cast<std::int8_t>(std::nearbyint(scaled));
      const std::int64_t in_tile = k % kTile;
      job.q[k - in_tile + in_tile % 8 / 2 * 4 + in_tile % 2 * 2 + in_tile / 8] = q;
      sum += q;
    }
    job.offsets[g] = sum * job.weight_offset;
  }
}

void weighted_sum_scalar(const WeightedSum& job) {
  for (std::int64_t c = 0; c < job.columns; ++c) {
    float sum = 0;
    for (std::int64_t j = 0; j < job.terms; ++j)
      sum = std::fma(job.weights[j], job.parts[j * job.stride + c], sum);
    job.out[c] = sum;
  }
}

}  // namespace krasis::cpu
