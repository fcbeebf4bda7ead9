#include "cuda/runtime.h"
#include "cuda/tile_dequantize.h"
#include "cuda/tile_fragments.cuh"

namespace krasis::cuda {
namespace {

constexpr int kColumns = 128;  // a warp takes a k-tile of 16
constexpr int kThreads = kColumns / 16 * kWarp;
constexpr int kRows = static_cast<int>(kStripRows);
// Words of a row in shared memory; eight rows' words of a column pair then lie in different banks.
constexpr int kRowWords = kColumns / 2 + 4;

struct Arguments {
  const std::byte* tiles;
  const std::byte* scales;
  int group, columns;  // columns padded
  unsigned* out;
};

template <int Bits>
__global__ void __launch_bounds__(kThreads) dequantize_kernel(const Arguments a) {
  __shared__ __align__(16) unsigned words[kRows][kRowWords];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int tile = static_cast<int>(threadIdx.x) / kWarp;
  const auto strip = static_cast<std::size_t>(blockIdx.y);
  const int column = static_cast<int>(blockIdx.x) * kColumns + tile * 16;
  constexpr int kTileBytes = kWarp * 4 * Bits;
  const auto* from = reinterpret_cast<const uint4*>(
      a.tiles + (strip * (a.columns / 16) + column / 16) * kTileBytes + lane * (4 * Bits));
  unsigned packed[Bits];
#pragma unroll
  for (int i = 0; i < Bits; i += 4) {
    const uint4 v = from[i / 4];
    packed[i] = v.x, packed[i + 1] = v.y, packed[i + 2] = v.z, packed[i + 3] = v.w;
  }
  const auto* scales = reinterpret_cast<const __nv_bfloat16*>(a.scales) +
                       (strip * (a.columns / a.group) + column / a.group) * kRows + lane / 4 * 8;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    __nv_bfloat162 q[4];
    TileWord<Bits>::values(packed + i * TileWord<Bits>::kWords, q);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const __nv_bfloat162 scale = __bfloat162bfloat162(scales[n % 2 * 4 + i]);
      words[i * 16 + n % 2 * 8 + lane / 4][tile * 8 + n / 2 * 4 + lane % 4] =
          as_bits(__hmul2(q[n], scale));
    }
  }
  __syncthreads();
  for (int at = static_cast<int>(threadIdx.x); at < kRows * kColumns / 8; at += kThreads) {
    const int row = at / (kColumns / 8);
    const int piece = at % (kColumns / 8);
    const auto to = (strip * kRows + row) * static_cast<std::size_t>(a.columns) +
                    blockIdx.x * kColumns + piece * 8;
    *reinterpret_cast<uint4*>(a.out + to / 2) =
        *reinterpret_cast<const uint4*>(&words[row][piece * 4]);
  }
}

}  // namespace

void dequantize_strips(const TileMatrix& matrix, std::int64_t first, std::int64_t count,
                       __nv_bfloat16* out, const Launch& launch) {
  const TileShape& shape = matrix.shape;
  const Arguments a{
      .tiles = matrix.tiles + static_cast<std::size_t>(first) * shape.strip_bytes(),
      .scales = reinterpret_cast<const std::byte*>(matrix.scales + first * shape.groups() * kRows),
      .group = shape.type.group,
      .columns = static_cast<int>(shape.padded_columns),
      .out = reinterpret_cast<unsigned*>(out)};
  const dim3 grid(static_cast<unsigned>(shape.padded_columns / kColumns),
                  static_cast<unsigned>(count));
  const auto kernel = shape.type.bits == 4 ? dequantize_kernel<4> : dequantize_kernel<8>;
  kernel<<<grid, kThreads, 0, launch.stream>>>(a);
  check_launch("dequantize_strips");
}

}  // namespace krasis::cuda
