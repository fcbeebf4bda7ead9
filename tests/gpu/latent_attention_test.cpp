// The expanded form of attention over latents (cuda/attention_expanded.h), against the oracle and
// against the absorbed form.
#include "conformance/latent_case.h"
#include "cuda/attention_expanded.h"
#include "cuda/cublaslt.h"
#include "cuda/device_memory.h"
#include "cuda/step_tables.h"
#include "gpu/device.h"
#include "gpu/staged_ops.h"

namespace krasis {
namespace {

using test::LatentCase;
using test::LatentShape;
using test::relative_error;
using test::Sequence;

// Queries, keys, values and weights are rounded to BF16, 2^-9 of a number at most.
constexpr double kTolerance = 5e-3;
// Weights are rounded after they are divided by that of the largest score so far. Where that is
// another, they are rounded otherwise: 2^-9 / sqrt(3) each on average, sqrt(2) of that between two
// runs, and as much of a sum of random values.
constexpr double kOtherWeights = 1.6e-3;

constexpr const char* kNotThere = "the expanded form is for sm_90";
constexpr LatentShape kTwoHeads = {2, 128, 64, 512, 128}, kSixteenHeads = {16, 128, 64, 512, 128};

class Expanding {
 public:
  // As a device of so few multiprocessors, on which the expanded form pays from fewer rows on.
  explicit Expanding(int multiprocessors = 1, std::size_t scratch_bytes = std::size_t{256} << 20)
      : memory_(0, stream_, {}),
        writer_(memory_, std::size_t{1} << 16),
        scratch_memory_(memory_.allocate(scratch_bytes)),
        cublas_(cuda::CublasLt::load()) {
    const auto attribute = [](cudaDeviceAttr which) {
      int value = 0;
      cuda::check(cudaDeviceGetAttribute(&value, which, 0), "reading a device's attributes");
      return value;
    };
    properties_ = {.multiprocessors = multiprocessors,
                   .capability = attribute(cudaDevAttrComputeCapabilityMajor) * 10 +
                                 attribute(cudaDevAttrComputeCapabilityMinor),
                   .shared_bytes =
                       static_cast<std::size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)),
                   .l2_bytes = 0};
  }

  bool possible() const { return properties_.capability == 90; }

  std::vector<float> operator()(LatentCase& given) {
    AttentionOverLatents op = given.operation();
    const cuda::StepPlan step(op.segments, given.cache().tokens);
    const cuda::StepTables tables = writer_.write(step, op.segments, stream_);
    cuda::Scratch scratch(scratch_memory_.data(), scratch_memory_.bytes());
    test::Stage stage(memory_);
    stage.use(op.queries);
    stage.use(op.absorbed);
    stage.use(op.mixed);
    stage.use(op.key_up);
    stage.use(op.value_up);
    stage.use(op.kv);
    stage.use(op.out);
    stage.run([&] {
      ASSERT_NE(cublas_, nullptr) << "cuBLASLt cannot be loaded";
      plan_ = cuda::plan_expanded(op, tables, properties_, true, scratch.bytes());
      ASSERT_GT(plan_.least_rows, 0);
      cuda::attention_over_latents(op, plan_,
                                   {stream_.get(), scratch, properties_, tables, cublas_.get()});
    });
    return given.results();
  }

  const cuda::ExpandedPlan& plan() const { return plan_; }  // of the last

 private:
  cuda::Stream stream_;
  cuda::DeviceMemory memory_;
  cuda::StepTableWriter writer_;
  Buffer scratch_memory_;
  std::unique_ptr<cuda::CublasLt> cublas_;
  cuda::DeviceProperties properties_;
  cuda::ExpandedPlan plan_;
};

void compare(Expanding& expanding, const LatentShape& shape,
             const std::vector<Sequence>& sequences) {
  for (const DType dtype : {DType::BF16, DType::F8E4M3}) {
    SCOPED_TRACE(name_of(dtype));
    LatentCase given(shape, Matrix::Format::BF16, dtype, sequences);
    const std::vector<float> expected = given.run(*make_reference_ops());
    const std::vector<float> actual = expanding(given);
    const double error = relative_error(actual, expected);
    EXPECT_LT(error, kTolerance);
    EXPECT_GT(error, 0);
    EXPECT_EQ(actual, expanding(given)) << "the second time";
  }
}

TEST(ExpandedAttention, PromptsAgreeWithTheOracle) {
  Expanding expanding;
  if (!expanding.possible()) GTEST_SKIP() << kNotThere;
  compare(expanding, kTwoHeads, {{196, 0}});
  compare(expanding, kTwoHeads, {{300, 0}});
  compare(expanding, kTwoHeads, {{256, 129}});
  compare(expanding, kTwoHeads, {{211, 700}});
}

TEST(ExpandedAttention, StandsBesideTheAbsorbedForm) {
  Expanding expanding;
  if (!expanding.possible()) GTEST_SKIP() << kNotThere;
  compare(expanding, kTwoHeads, {{1, 300}, {200, 77}, {0, 9}, {5, 64}, {230, 0}, {1, 0}});
}

// The absorbed form on the device.
std::vector<float> absorbed(LatentCase& given) {
  test::StagedOps ops(test::device_ops());
  const AttentionOverLatents op = given.operation();
  ops.head_linear(absorb_queries(op));
  ops.attention(attend_latents(op));
  ops.head_linear(raise_values(op));
  return given.results();
}

TEST(ExpandedAttention, AContextInBlocksIsTheSame) {
  // What does not grow with tokens takes 33 MiB and a little; a token of 16 heads 9.1 KiB.
  Expanding whole(16), in_blocks(16, std::size_t{47} << 20);
  if (!whole.possible()) GTEST_SKIP() << kNotThere;
  for (const DType dtype : {DType::BF16, DType::F8E4M3}) {
    LatentCase given(kSixteenHeads, Matrix::Format::BF16, dtype, {{1500, 2600}, {3, 40}});
    const std::vector<float> expected = whole(given);
    EXPECT_GE(whole.plan().block_tokens, 4100);
    const std::vector<float> actual = in_blocks(given);
    EXPECT_LE(in_blocks.plan().block_tokens, 4100 / 2);
    EXPECT_LT(relative_error(actual, expected), kOtherWeights) << name_of(dtype);
    EXPECT_EQ(actual, in_blocks(given)) << "the second time";
    EXPECT_LT(relative_error(actual, absorbed(given)), kTolerance) << name_of(dtype);
  }
}

TEST(ExpandedAttention, TilesAreWhatTheyAreInTheAbsorbedForm) {
  Expanding expanding(16);
  if (!expanding.possible()) GTEST_SKIP() << kNotThere;
  LatentCase given(kSixteenHeads, Matrix::Format::BF16, DType::BF16, {{700, 333}});
  const std::vector<float> plain = expanding(given);
  given.quantize();
  const std::vector<float> actual = expanding(given);
  EXPECT_GT(relative_error(actual, plain), 1e-3) << "were they used?";
  EXPECT_LT(relative_error(actual, absorbed(given)), kTolerance);
}

}  // namespace
}  // namespace krasis
