#include <algorithm>
#include <array>

#include "cpu/features.h"
#include "cpu/vector_kernels.h"

namespace krasis::cpu {
namespace {

constexpr std::array kRows = {
    VectorRow{&kVectorAvx512, [](const Features& features) { return features.avx512; }},
    VectorRow{&kVectorAvx2, [](const Features& features) { return features.avx2; }},
    VectorRow{&kVectorPortable, [](const Features& /*features*/) { return true; }},
};

}  // namespace

VectorTable vector_table() {
  return {kRows.data(), kRows.size()};
}

const VectorKernels& best_vector_kernels() {
  return *std::find_if(kRows.begin(), kRows.end(), [](const VectorRow& row) {
            return row.runs_on(features());
          })->kernels;
}

}  // namespace krasis::cpu
