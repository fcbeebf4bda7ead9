// The forms of attention that need tensor cores and aligned rows (cuda/attention.h), on every
// device that this one can stand in for; the general form is met by the conformance tests.
#include "cuda/attention.h"

#include "conformance/paged_cache.h"
#include "cuda/attention_plan.h"
#include "cuda/device_memory.h"
#include "cuda/step_tables.h"
#include "gpu/device.h"
#include "gpu/staged_ops.h"

namespace krasis {
namespace {

using test::AttentionShape;
using test::PagedCache;
using test::Sequence;

// Queries and weights are rounded to BF16, 2^-9 of a number on average; a weight's error is its
// score's, which is a sum of many roundings.
constexpr double kTolerance = 5e-3;

// Queries of a wider row, as a slice of a projection has them.
constexpr std::int64_t kQueryGap = 12;
constexpr std::int64_t kOutGap = 2;

class Attending {
 public:
  explicit Attending(const cuda::DeviceProperties& properties,
                     std::size_t scratch_bytes = std::size_t{256} << 20)
      : properties_(properties),
        memory_(0, stream_, {}),
        writer_(memory_, std::size_t{1} << 16),
        scratch_memory_(memory_.allocate(scratch_bytes)) {}

  // The results, rows kOutGap apart; rows of no segment keep kUntouched.
  std::vector<float> operator()(const PagedCache& cache, const AttentionShape& shape) {
    const std::int64_t rows = cache.tokens * shape.heads;
    Attention op = operation(cache, shape);
    std::vector<float> out(static_cast<std::size_t>(rows * op.out.stride), test::kUntouched);
    op.out.data = out.data();
    const cuda::StepPlan plan(cache.segments, cache.tokens);
    const cuda::StepTables tables = writer_.write(plan, cache.segments, stream_);
    cuda::Scratch scratch(scratch_memory_.data(), scratch_memory_.bytes());
    test::Stage stage(memory_);
    stage.use(op.queries);
    stage.use(op.kv);
    stage.use(op.out);
    stage.run([&] { cuda::attention(op, {stream_.get(), scratch, properties_, tables}); });
    return out;
  }

  std::vector<float> oracle(const PagedCache& cache, const AttentionShape& shape) {
    const std::int64_t rows = cache.tokens * shape.heads;
    Attention op = operation(cache, shape);
    std::vector<float> out(static_cast<std::size_t>(rows * op.out.stride), test::kUntouched);
    op.out.data = out.data();
    make_reference_ops()->attention(op);
    return out;
  }

 private:
  Attention operation(const PagedCache& cache, const AttentionShape& shape) {
    const std::int64_t rows = cache.tokens * shape.heads;
    const std::int64_t stride = shape.key_dim + kQueryGap;
    queries_ = test::normal_values(rows * stride, 3);
    return {.queries = Rows(queries_.data(), rows, shape.key_dim, stride),
            .kv = cache.kv,
            .segments = cache.segments,
            .heads = shape.heads,
            .scale = 1 / std::sqrt(static_cast<float>(shape.key_dim)),
            .out = MutableRows(nullptr, rows, shape.value_dim, shape.value_dim + kOutGap)};
  }

  cuda::DeviceProperties properties_;
  cuda::Stream stream_;
  cuda::DeviceMemory memory_;
  cuda::StepTableWriter writer_;
  Buffer scratch_memory_;
  std::vector<float> queries_;
};

// This device, and as older and smaller ones, as far as it can do what they do.
std::vector<cuda::DeviceProperties> devices() {
  const auto attribute = [](cudaDeviceAttr which) {
    int value = 0;
    cuda::check(cudaDeviceGetAttribute(&value, which, 0), "reading a device's attributes");
    return value;
  };
  const cuda::DeviceProperties own = {
      .multiprocessors = attribute(cudaDevAttrMultiProcessorCount),
      .capability = attribute(cudaDevAttrComputeCapabilityMajor) * 10 +
                    attribute(cudaDevAttrComputeCapabilityMinor),
      .shared_bytes = static_cast<std::size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)),
      .l2_bytes = 0};
  std::vector<cuda::DeviceProperties> all = {own};
  for (const std::size_t kilobytes : {227, 163, 99}) {
    if (kilobytes * 1024 > own.shared_bytes) continue;
    all.push_back(own);
    all.back().capability = 80;
    all.back().shared_bytes = kilobytes * 1024;
  }
  return all;
}

constexpr AttentionShape kShapes[] = {
    {8, 2, 64, 64, 16, false},    {16, 1, 128, 128, 64, false}, {4, 4, 128, 128, 7, false},
    {16, 2, 256, 256, 64, false}, {12, 1, 128, 128, 16, false}, {16, 1, 576, 512, 64, true},
    {5, 1, 576, 512, 16, true},
};

void compare(const std::vector<Sequence>& sequences, DType dtype, Attending& attending,
             const std::string& device) {
  for (const AttentionShape& shape : kShapes) {
    SCOPED_TRACE(std::string(name_of(dtype)) + ", key_dim " + std::to_string(shape.key_dim) + ", " +
                 std::to_string(shape.heads) + " heads, " + device);
    const PagedCache cache(shape, dtype, sequences);
    const std::vector<float> actual = attending(cache, shape);
    EXPECT_LT(test::relative_error(actual, attending.oracle(cache, shape)), kTolerance);
    EXPECT_EQ(actual, attending(cache, shape)) << "the second time";
  }
}

// BF16 holds every E4M3: a cache of those has the same tolerance.
void compare(const std::vector<Sequence>& sequences) {
  for (const cuda::DeviceProperties& properties : devices()) {
    Attending attending(properties);
    const std::string device = "as " + std::to_string(properties.capability) + " with " +
                               std::to_string(properties.shared_bytes) + " bytes";
    for (const DType dtype : {DType::BF16, DType::F8E4M3})
      compare(sequences, dtype, attending, device);
  }
}

TEST(AttentionOnDevice, StepsAgreeWithTheOracle) {
  compare({{1, 0}});
  compare({{1, 600}});
  compare({{1, 37}, {0, 5}, {3, 0}, {2, 70}, {1, 63}, {1, 64}});
}

TEST(AttentionOnDevice, PromptsAgreeWithTheOracle) {
  compare({{65, 0}});
  compare({{70, 130}});
}

TEST(AttentionOnDevice, StepsBesidePromptsAgreeWithTheOracle) {
  compare({{1, 300}, {90, 0}, {1, 64}, {67, 77}});
}

// This device as one so small that no sequence's keys are split between its blocks.
cuda::DeviceProperties undivided() {
  cuda::DeviceProperties properties = devices().front();
  properties.multiprocessors = 1;
  return properties;
}

constexpr AttentionShape kPromptShapes[] = {
    {4, 2, 256, 256, 64, false}, {6, 1, 256, 256, 7, false}, {5, 1, 128, 128, 16, false}};

// So long that every place that tiles of keys pass through is used many times.
TEST(AttentionOnDevice, LongPromptsAgreeWithTheOracle) {
  Attending attending(undivided());
  for (const DType dtype : {DType::BF16, DType::F8E4M3}) {
    for (const AttentionShape& shape : kPromptShapes) {
      SCOPED_TRACE(std::string(name_of(dtype)) + ", key_dim " + std::to_string(shape.key_dim));
      const PagedCache cache(shape, dtype, {{300, 1500}, {1, 70}, {0, 0}, {257, 0}});
      const std::vector<float> actual = attending(cache, shape);
      EXPECT_LT(test::relative_error(actual, attending.oracle(cache, shape)), kTolerance);
      EXPECT_EQ(actual, attending(cache, shape)) << "the second time";
    }
  }
}

// Multiplies the keys of the first sequence from `first` on by four.
void quadruple_keys(const PagedCache& cache, const AttentionShape& shape, std::int64_t first) {
  const Segment& segment = cache.segments[0];
  for (std::int64_t i = first; i < segment.past + segment.rows; ++i) {
    const std::int64_t page = segment.pages[static_cast<std::size_t>(i / shape.page_tokens)];
    for (std::int64_t h = 0; h < shape.kv_heads; ++h) {
      const std::int64_t row =
          (page * shape.kv_heads + h) * shape.page_tokens + i % shape.page_tokens;
      bf16* const keys = reinterpret_cast<bf16*>(cache.kv.keys) + row * shape.key_dim;
      for (std::int64_t d = 0; d < shape.key_dim; ++d) keys[d] = to_bf16(4 * to_float(keys[d]));
    }
  }
}

// Scores that grow by more than 2^8 between tiles of keys: what was summed up before has to shrink.
TEST(AttentionOnDevice, ScoresOfPromptsMayGrow) {
  constexpr double kFourTimes = 4 * kTolerance;  // the scores' errors
  cuda::DeviceProperties older = undivided();
  older.capability = 80;
  for (const cuda::DeviceProperties& properties : {undivided(), older}) {
    Attending attending(properties);
    for (const AttentionShape& shape : kPromptShapes) {
      SCOPED_TRACE("as " + std::to_string(properties.capability) + ", key_dim " +
                   std::to_string(shape.key_dim));
      const PagedCache cache(shape, DType::BF16, {{200, 300}});
      quadruple_keys(cache, shape, 170);
      EXPECT_LT(test::relative_error(attending(cache, shape), attending.oracle(cache, shape)),
                kFourTimes);
    }
  }
}

// So many that their keys are hardly split.
TEST(AttentionOnDevice, StepsOfManySequencesAgreeWithTheOracle) {
  std::vector<Sequence> sequences;
  for (std::int64_t s = 0; s < 140; ++s) sequences.push_back({1 + s % 2, 100 + 5 * s});
  Attending attending(devices().front());
  for (const DType dtype : {DType::BF16, DType::F8E4M3})
    compare(sequences, dtype, attending, "many sequences");
}

TEST(AttentionOnDevice, NarrowKeysOfAPromptNeedNotFitScratchMemory) {
  const AttentionShape shape = {16, 1, 128, 128, 64, false};
  const PagedCache cache(shape, DType::F8E4M3, {{20, 9000}});
  // Widened they are 4.6 million bytes; the splits of the kernel that widens nothing take 3.2.
  for (const std::size_t megabytes : {4, 256}) {
    Attending attending(devices().front(), megabytes << 20);
    EXPECT_LT(test::relative_error(attending(cache, shape), attending.oracle(cache, shape)),
              kTolerance)
        << megabytes;
  }
}

void expect_behind_does_not_matter(Attending& attending, const AttentionShape& shape, DType dtype) {
  const std::vector<Sequence> sequences = {{1, 37}, {70, 5}};
  const PagedCache cache(shape, dtype, sequences);
  const std::vector<float> expected = attending(cache, shape);
  const auto row_bytes = static_cast<std::size_t>(shape.key_dim) * size_of(dtype);
  for (const Segment& segment : cache.segments) {
    const std::int64_t length = segment.past + segment.rows;
    const auto pages = static_cast<std::int64_t>(segment.pages.size());
    for (std::int64_t i = length; i < pages * shape.page_tokens; ++i) {
      const std::int64_t page = segment.pages[static_cast<std::size_t>(i / shape.page_tokens)];
      for (std::int64_t h = 0; h < shape.kv_heads; ++h) {
        const std::int64_t row =
            (page * shape.kv_heads + h) * shape.page_tokens + i % shape.page_tokens;
        // NaN in both types
        std::memset(cache.kv.keys + static_cast<std::size_t>(row) * row_bytes, 0x7f, row_bytes);
      }
    }
  }
  EXPECT_EQ(attending(cache, shape), expected) << name_of(dtype) << ", key_dim " << shape.key_dim;
}

TEST(AttentionOnDevice, WhatLiesBehindASequenceDoesNotMatter) {
  Attending attending(devices().front());
  for (const AttentionShape& shape : kShapes) {
    for (const DType dtype : {DType::BF16, DType::F8E4M3})
      expect_behind_does_not_matter(attending, shape, dtype);
  }
}

TEST(AttentionOnDevice, NanInANarrowCacheStaysNan) {
  Attending attending(devices().front());
  for (const AttentionShape& shape : kShapes) {
    for (const Sequence sequence : {Sequence{1, 37}, Sequence{300, 0}}) {
      const PagedCache cache(shape, DType::F8E4M3, {sequence});
      for (const std::byte nan : {std::byte{0x7f}, std::byte{0xff}}) {
        const std::int64_t first = cache.segments[0].pages[0] * shape.kv_heads * shape.page_tokens;
        cache.kv.keys[first * shape.key_dim + 5] = nan;
        const std::vector<float> out = attending(cache, shape);
        // Of the first token's first head, behind the row that belongs to nobody.
        const std::int64_t row = shape.heads * (shape.value_dim + kOutGap);
        EXPECT_TRUE(std::isnan(out[static_cast<std::size_t>(row)])) << "key_dim " << shape.key_dim;
      }
    }
  }
}

}  // namespace
}  // namespace krasis
