// A token's result is the same number to the last bit whatever else is computed in the call, and
// with any number of threads.

#include "base/float8.h"
#include "base/thread_pool.h"
#include "conformance/support.h"
#include "cpu/cpu_ops.h"
#include "cpu/features.h"
#include "cpu/tile_table.h"
#include "cpu/vector_kernels.h"

namespace krasis {
namespace {

using test::kPlainFormats;
using test::normal_values;
using test::PlainMatrix;

// Calls test(ops, reference ops of one thread) for 1, 2, 3 and 5 threads, for every row of kernels.
template <class Test>
void for_each_thread_count(Test&& test) {
  for (const cpu::VectorRow& row : cpu::vector_table()) {
    if (!row.runs_on(cpu::features())) continue;
    ThreadPool one({.threads = 1, .pin = false});
    const auto alone = cpu::make_cpu_ops(one, *row.kernels, cpu::best_tile_kernels());
    for (const int threads : {1, 2, 3, 5}) {
      ThreadPool pool({.threads = threads, .pin = false});
      const auto ops = cpu::make_cpu_ops(pool, *row.kernels, cpu::best_tile_kernels());
      SCOPED_TRACE(ops->name());
      test(*ops, *alone);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(Invariance, LinearOfATokenAloneAndAmongOthers) {
  constexpr std::int64_t kTokens = 71;
  constexpr std::int64_t kColumns = 1500;  // more than one block
  constexpr std::int64_t kOutputs = 45;
  const auto x = normal_values(kTokens * kColumns, 1);
  for (const Matrix::Format format : kPlainFormats) {
    const PlainMatrix weight(format, kOutputs, kColumns, normal_values(kOutputs * kColumns, 2));
    for_each_thread_count([&](Ops& ops, Ops& alone) {
      std::vector<float> all(kTokens * kOutputs), one(kTokens * kOutputs);
      ops.linear({.x = {x.data(), kTokens, kColumns},
                  .weight = weight.matrix(),
                  .bias = {},
                  .out = {all.data(), kTokens, kOutputs}});
      for (std::int64_t t = 0; t < kTokens; ++t) {
        alone.linear({.x = {x.data() + t * kColumns, 1, kColumns},
                      .weight = weight.matrix(),
                      .bias = {},
                      .out = {one.data() + t * kOutputs, 1, kOutputs}});
      }
      ASSERT_EQ(all, one);
    });
  }
}

// A cache of T: float or e4m3.
template <class T>
void expect_attention_does_not_depend_on_steps(DType type, T (*number)(float)) {
  constexpr std::int64_t kTokens = 600;  // three chunks
  constexpr std::int64_t kHeads = 6, kKvHeads = 2, kDim = 24, kPageTokens = 50;
  const std::int64_t cached = 12 * kKvHeads * kPageTokens * kDim;
  std::vector<T> keys, values;
  for (const float value : normal_values(cached, 1)) keys.push_back(number(value));
  for (const float value : normal_values(cached, 2)) values.push_back(number(value));
  const PagedKv kv{.keys = reinterpret_cast<std::byte*>(keys.data()),
                   .values = reinterpret_cast<std::byte*>(values.data()),
                   .dtype = type,
                   .pages = 12,
                   .page_tokens = kPageTokens,
                   .kv_heads = kKvHeads,
                   .key_dim = kDim,
                   .value_dim = kDim};
  const std::vector<std::int32_t> pages = {4, 2, 9, 0, 1, 11, 3, 5, 10, 8, 7, 6};
  const auto queries = normal_values(kTokens * kHeads * kDim, 3);
  const auto attend = [&](Ops& ops, std::int64_t first, std::int64_t count, float* out) {
    const std::vector<Segment> segments = {
        {.first_row = 0, .rows = count, .past = first, .slot = 0, .pages = pages}};
    ops.attention({.queries = {queries.data() + first * kHeads * kDim, count * kHeads, kDim},
                   .kv = kv,
                   .segments = segments,
                   .heads = kHeads,
                   .scale = 0.3F,
                   .out = {out + first * kHeads * kDim, count * kHeads, kDim}});
  };
  for_each_thread_count([&](Ops& ops, Ops& alone) {
    std::vector<float> prompt(queries.size()), stepped(queries.size()), chunked(queries.size());
    attend(ops, 0, kTokens, prompt.data());
    for (std::int64_t t = 0; t < kTokens; ++t)
      attend(t % 7 == 0 ? ops : alone, t, 1, stepped.data());
    attend(ops, 0, 255, chunked.data());
    attend(ops, 255, kTokens - 255, chunked.data());
    ASSERT_EQ(prompt, stepped);
    ASSERT_EQ(prompt, chunked);
  });
}

TEST(Invariance, AttentionOfAPromptAndTokenByToken) {
  expect_attention_does_not_depend_on_steps<float>(DType::F32, [](float value) { return value; });
  expect_attention_does_not_depend_on_steps<e4m3>(DType::F8E4M3, to_e4m3);
}

TEST(Invariance, DeltaNetOfAPromptAndTokenByToken) {
  constexpr std::int64_t kTokens = 70;
  constexpr std::int64_t kHeads = 3, kDim = 72;
  const auto q = normal_values(kTokens * kHeads * kDim, 1);
  const auto k = normal_values(kTokens * kHeads * kDim, 2);
  const auto v = normal_values(kTokens * kHeads * kDim, 3);
  auto decay = test::absolute(normal_values(kTokens * kHeads, 4));
  for (float& value : decay) value = -value;
  const auto beta = test::absolute(normal_values(kTokens * kHeads, 5, 0.3F));
  struct Result {
    std::vector<float> state = std::vector<float>(kHeads * kDim * kDim, 3);
    std::vector<float> out = std::vector<float>(kTokens * kHeads * kDim);
    bool operator==(const Result&) const = default;
  };
  const auto remember = [&](Ops& ops, std::int64_t first, std::int64_t count, Result& result) {
    const std::vector<Segment> segments = {
        {.first_row = 0, .rows = count, .past = first, .slot = 0, .pages = {}}};
    const auto rows = [&](const std::vector<float>& values, std::int64_t cols) {
      return Rows(values.data() + first * cols, count, cols);
    };
    ops.delta_net({.q = rows(q, kHeads * kDim),
                   .k = rows(k, kHeads * kDim),
                   .v = rows(v, kHeads * kDim),
                   .log_decay = rows(decay, kHeads),
                   .beta = rows(beta, kHeads),
                   .key_heads = kHeads,
                   .value_heads = kHeads,
                   .key_dim = kDim,
                   .value_dim = kDim,
                   .state = result.state.data(),
                   .slots = 1,
                   .segments = segments,
                   .out = {result.out.data() + first * kHeads * kDim, count, kHeads * kDim}});
  };
  for_each_thread_count([&](Ops& ops, Ops& alone) {
    Result prompt, stepped;
    remember(ops, 0, kTokens, prompt);
    for (std::int64_t t = 0; t < kTokens; ++t) remember(t % 2 == 0 ? ops : alone, t, 1, stepped);
    ASSERT_TRUE(prompt == stepped);
  });
}

TEST(Invariance, ExpertsOfATokenAloneAndAmongOthers) {
  constexpr std::int64_t kTokens = 90, kExperts = 3, kHidden = 40, kIntermediate = 28;
  std::vector<PlainMatrix> memory;
  std::vector<Matrix> gate, up, down;
  for (unsigned e = 0; e < kExperts; ++e) {
    const auto values = [&](unsigned seed) {
      return normal_values(kHidden * kIntermediate, 10 * e + seed);
    };
    memory.emplace_back(Matrix::Format::BF16, kIntermediate, kHidden, values(1));
    gate.push_back(memory.back().matrix());
    memory.emplace_back(Matrix::Format::BF16, kIntermediate, kHidden, values(2));
    up.push_back(memory.back().matrix());
    memory.emplace_back(Matrix::Format::BF16, kHidden, kIntermediate, values(3));
    down.push_back(memory.back().matrix());
  }
  const ExpertMatrices matrices{.experts = kExperts,
                                .hidden = kHidden,
                                .intermediate = kIntermediate,
                                .gate = gate.data(),
                                .up = up.data(),
                                .down = down.data(),
                                .tiled = std::nullopt};
  const auto x = normal_values(kTokens * kHidden, 1);
  const auto weights = normal_values(kTokens * 2, 2);
  std::vector<std::int32_t> ids(kTokens * 2);
  for (std::size_t n = 0; n < ids.size(); ++n) ids[n] = static_cast<std::int32_t>(n * n % 3);
  const auto compute = [&](Ops& ops, std::int64_t first, std::int64_t count, float* out) {
    ops.experts({.x = {x.data() + first * kHidden, count, kHidden},
                 .ids = std::span(ids).subspan(static_cast<std::size_t>(first * 2),
                                               static_cast<std::size_t>(count * 2)),
                 .weights = std::span(weights).subspan(static_cast<std::size_t>(first * 2),
                                                       static_cast<std::size_t>(count * 2)),
                 .top_k = 2,
                 .matrices = matrices,
                 .out = {out + first * kHidden, count, kHidden}});
  };
  for_each_thread_count([&](Ops& ops, Ops& alone) {
    std::vector<float> all(kTokens * kHidden), one(kTokens * kHidden);
    compute(ops, 0, kTokens, all.data());
    for (std::int64_t t = 0; t < kTokens; ++t) compute(alone, t, 1, one.data());
    ASSERT_EQ(all, one);
  });
}

}  // namespace
}  // namespace krasis
