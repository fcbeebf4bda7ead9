#include "cpu/tile_table.h"

#include <array>

namespace krasis::cpu {
namespace {

bool anywhere(const Features& /*unused*/) {
  return true;
}
bool with_avx2(const Features& f) {
  return f.avx2;
}

bool with_avx_vnni(const Features& f) {
  return f.avx_vnni;
}
bool with_avx512(const Features& f) {
  return f.avx512_vnni;
}
bool with_amx(const Features& f) {
  return f.amx_int8;
}

constexpr std::array kTileKernels = {
    TileKernels{"amx", with_amx, tile_product_amx, tile_activations_avx2, weighted_sum_avx2},
    TileKernels{"avx512", with_avx512, tile_product_avx512, tile_activations_avx2,
                weighted_sum_avx2},
    TileKernels{"avxvnni", with_avx_vnni, tile_product_avxvnni, tile_activations_avx2,
                weighted_sum_avx2},
    TileKernels{"avx2", with_avx2, tile_product_avx2, tile_activations_avx2, weighted_sum_avx2},
    TileKernels{"scalar", anywhere, tile_product_scalar, tile_activations_scalar,
                weighted_sum_scalar},
};

}  // namespace

std::span<const TileKernels> tile_kernels() {
  return kTileKernels;
}

const TileKernels& best_tile_kernels() {
  for (const TileKernels& row : kTileKernels) {
    if (row.runs_on(features())) return row;
  }
  return kTileKernels.back();
}

}  // namespace krasis::cpu
