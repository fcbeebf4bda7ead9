// Memory that runs out at every allocation in turn: an answer or a clean error, never a crash or a
// wrong token.
#include "base/log.h"
#include "cuda/device_memory.h"
#include "gpu/answers.h"
#include "weights/placed_experts.h"

namespace krasis {
namespace {

using test::Answer;
using test::ask;
using test::expect_right;

constexpr std::size_t kPrompt = 90;
constexpr std::int64_t kAnswer = 6;

// Everything an answer needs, from nothing. Members go in reverse order.
struct Whole {
  Whole(const std::string& name, bool streamed, std::int64_t failing_allocation)
      : description(read_model_description(test::reference_model_dir(name))),
        source(open_checkpoint(test::reference_model_dir(name))),
        ops(test::make_device_ops(
            {.scratch_bytes = std::size_t{64} << 20, .failing_allocation = failing_allocation})) {
    TileOptions tiles;
    tiles.type = expert_tile_type(description.spec, 4);
    host_experts = make_tile_experts(description, *source, tiles);
    if (streamed) {
      const auto layers = sparse_expert_layers(description.spec, *host_experts);
      experts = make_placed_experts(
          description.spec,
          cuda::place_experts(*ops, layers, {.resident = layers.front().experts / 2},
                              processor.ops()));
    } else {
      experts = make_resident_experts(description.spec, *host_experts, ops->memory());
    }
    model = std::make_unique<Model>(description, *source, experts.get(), DenseFormats{}, *ops, 64);
  }

  std::int64_t allocations() const {
    return static_cast<const cuda::DeviceMemory&>(ops->memory()).allocations();
  }

  ModelDescription description;
  std::unique_ptr<TensorSource> source;
  test::Backend processor{"cpu"};
  std::unique_ptr<ExpertStore> host_experts;
  std::unique_ptr<Ops> ops;
  std::unique_ptr<ExpertStore> experts;
  std::unique_ptr<Model> model;
};

EngineOptions engine_options() {
  return {.context_length = 128, .max_sequences = 1, .prompt_chunk = 64, .page_tokens = 16};
}

struct Case {
  const char* model;
  bool streamed;
};

class OutOfMemory : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override { KRASIS_NEEDS_REFERENCE(); }
};

TEST_P(OutOfMemory, AtEveryAllocationIsAnAnswerOrACleanError) {
  log::set_level(log::Level::Off);
  const auto& [name, streamed] = GetParam();
  auto prompt = test::Golden(name).values<std::int32_t>("input_ids");
  prompt.resize(kPrompt);
  test::LoadedModel judge(test::reference_model_dir(name), test::device_ops(), {}, 4);
  std::int64_t allocations = 0;
  {
    Whole whole(name, streamed, 0);
    Engine engine(*whole.model, engine_options());
    const Answer answer = ask(engine, prompt, kAnswer).get();
    ASSERT_EQ(answer.finish, FinishReason::Length);
    expect_right(answer.tokens, prompt, judge);
    allocations = whole.allocations();
  }
  int errors = 0, answers = 0;
  for (std::int64_t failing = 1; failing <= allocations; ++failing) {
    try {
      Whole whole(name, streamed, failing);
      Engine engine(*whole.model, engine_options());
      const Answer answer = ask(engine, prompt, kAnswer).get();
      ASSERT_EQ(answer.finish, FinishReason::Length) << "allocation " << failing;
      expect_right(answer.tokens, prompt, judge);
      ++answers;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::OutOfMemory) << error.what();
      ++errors;
    }
  }
  std::printf("%s: %lld allocations, %d clean errors, %d answers\n", name,
              static_cast<long long>(allocations), errors, answers);
  EXPECT_GT(errors, 0);
  EXPECT_GT(answers, 0);
  log::set_level(log::Level::Info);
}

INSTANTIATE_TEST_SUITE_P(
    , OutOfMemory,
    testing::Values(Case{"qwen3-next-tiny", false}, Case{"deepseek-v2-lite-tiny", false},
                    Case{"qwen3-next-tiny", true}),
    [](const auto& one) {
      return test::test_name({one.param.model, one.param.streamed ? "streamed" : "resident"});
    });

}  // namespace
}  // namespace krasis
