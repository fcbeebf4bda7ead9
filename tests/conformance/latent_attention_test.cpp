#include "conformance/latent_case.h"

namespace krasis {
namespace {

using test::for_each_backend;
using test::LatentCase;
using test::LatentShape;
using test::relative_error;
using test::rounded;

constexpr LatentShape kLatentShapes[] = {
    {3, 8, 4, 16, 8}, {2, 128, 64, 512, 128}, {5, 7, 6, 20, 9}};

// Three products, each as in linear_test.cpp and attention_test.cpp.
constexpr double kLatentTolerance = 4e-6;

TEST(Conformance, AttentionOverLatents) {
  for (const LatentShape& shape : kLatentShapes) {
    for (const Matrix::Format format : test::kPlainFormats) {
      for (const DType dtype : {DType::F32, DType::BF16, DType::F8E4M3}) {
        SCOPED_TRACE("latents of " + std::to_string(shape.latent) + ", cache of " +
                     std::string(name_of(dtype)));
        LatentCase given(shape, format, dtype, {{1, 37}, {0, 5}, {9, 0}, {30, 70}});
        const std::vector<float> expected = given.run(*make_reference_ops());
        for_each_backend([&](Ops& ops) {
          EXPECT_LT(relative_error(given.run(ops), expected), rounded(kLatentTolerance));
        });
      }
    }
  }
}

}  // namespace
}  // namespace krasis
