// A hundred prompts of mixed lengths, several at the same time, where there is less memory than
// they would like: every step on the way down gives the answers of a model with room for
// everything.
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>

#include "base/log.h"
#include "budget/plan.h"
#include "engine/model_runner.h"
#include "gpu/answers.h"
#include "residency/device_sizes.h"
#include "weights/cache_plan.h"
#include "weights/placed_experts.h"

namespace krasis {
namespace {

using test::Answer;

constexpr std::size_t kPrompts = 100;
constexpr double kLongest = 3000;  // tokens
constexpr std::int64_t kAnswer = 8;
constexpr std::int64_t kContext = 4096;
constexpr std::int64_t kSequences = 4;
constexpr std::int64_t kPageTokens = 64;
constexpr std::size_t kScratchBytes = std::size_t{64} << 20;
constexpr std::size_t kUncounted = std::size_t{64} << 10;    // some words that no plan counts
constexpr std::size_t kCublasBytes = std::size_t{32} << 20;  // of it, for each product

// As many short ones as long ones, in no order.
std::vector<std::vector<std::int32_t>> hundred_prompts(std::int64_t vocab) {
  std::mt19937 random(11);
  std::vector<std::vector<std::int32_t>> prompts(kPrompts);
  for (std::size_t i = 0; i < kPrompts; ++i) {
    const double place = static_cast<double>(i) / (kPrompts - 1);
    prompts[i].resize(static_cast<std::size_t>(std::lround(std::pow(kLongest, place))));
    for (std::int32_t& id : prompts[i])
      id = static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(vocab));
  }
  std::ranges::shuffle(prompts, random);
  return prompts;
}

// A ModelRunner that may find no memory after a step was computed, with the caches full of it.
class ScarceRunner final : public StepRunner {
 public:
  // refuses(batch): true if there is no memory for it. least_part: becomes the fewest tokens that
  // a part had.
  ScarceRunner(Model& model, const StateSize& size, std::function<bool(const Batch&)> refuses,
               std::int64_t& least_part)
      : model_(model), runner_(model, size), refuses_(std::move(refuses)), least_part_(least_part) {
    least_part_ = model.part_tokens();
  }

  std::int64_t vocab() const override { return runner_.vocab(); }
  void forward(const Batch& batch, MutableRows logits) override {
    runner_.forward(batch, logits);
    refuse(batch);
  }
  void forward_best(const Batch& batch, const BestLogits& best) override {
    runner_.forward_best(batch, best);
    refuse(batch);
  }
  void step_down(std::int64_t tokens) override {
    runner_.step_down(tokens);
    least_part_ = std::min(least_part_, model_.part_tokens());
  }
  void step_up() override { runner_.step_up(); }

 private:
  void refuse(const Batch& batch) const {
    if (refuses_ && refuses_(batch)) throw Error(ErrorCode::OutOfMemory, "test: no memory");
  }
  Model& model_;
  ModelRunner runner_;
  std::function<bool(const Batch&)> refuses_;
  std::int64_t& least_part_;
};

struct Climbed {
  std::uint64_t steps_without_memory = 0;
  std::int64_t least_part = 0;  // tokens
};

struct Rung {
  std::string name;
  Plan plan;
  cuda::DeviceOptions device = {.scratch_bytes = kScratchBytes};
  bool reserved = true;                                 // the steps' memory, before the first one
  std::function<bool(const Batch&)> refuses = nullptr;  // ScarceRunner
  bool may_fail = false;                                // some prompts, with a clean error
};

class StepDown : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    KRASIS_NEEDS_REFERENCE();
    log::set_level(log::Level::Off);
    const auto folder = test::reference_model_dir(GetParam());
    description_ = read_model_description(folder);
    source_ = open_checkpoint(folder);
    TileOptions tiles;
    tiles.type = expert_tile_type(description_.spec, 4);
    host_experts_ = make_tile_experts(description_, *source_, tiles);
    judge_ = std::make_unique<test::LoadedModel>(folder, test::device_ops(), DenseFormats{}, 4);
    processors_judge_ =
        std::make_unique<test::LoadedModel>(folder, processor_.ops(), DenseFormats{}, 4);
    prompts_ = hundred_prompts(description_.spec.vocab);
    Engine engine(judge_->model, {.context_length = kContext,
                                  .max_sequences = kSequences,
                                  .prompt_chunk = kContext,
                                  .page_tokens = kPageTokens});
    for (const Answer& answer : ask_all(engine)) {
      ASSERT_EQ(answer.finish, FinishReason::Length);
      expected_.push_back(answer.tokens);
    }
    ASSERT_EQ(engine.status().steps_without_memory, 0U);
  }
  void TearDown() override { log::set_level(log::Level::Info); }

  std::vector<Answer> ask_all(Engine& engine) const {
    std::vector<std::future<Answer>> asked;
    for (const auto& prompt : prompts_) asked.push_back(test::ask(engine, prompt, kAnswer));
    std::vector<Answer> answers;
    for (auto& one : asked) answers.push_back(one.get());
    return answers;
  }

  PlanRequest request(std::optional<std::int64_t> divisor, std::int64_t chunk = 0) const {
    const StateSize one = {
        .pages = 1, .page_tokens = kPageTokens, .slots = 1, .kv_type = DType::BF16};
    PlanRequest request;
    request.weights = {.shared_expert_int8 = false,
                       .dense_mlp_int8 = false,
                       .lm_head_int8 = false,
                       .experts = expert_tile_type(description_.spec, 4)};
    request.expert_divisor = divisor;
    request.context_length = kContext;
    request.max_sequences = kSequences;
    request.prompt_chunk = chunk;
    request.page_bytes = page_bytes(description_.spec, one);
    request.slot_bytes = slot_bytes(description_.spec);
    return request;
  }
  // Without the driver's share, which the limit of a device does not count.
  std::optional<Plan> plan_in(PlanRequest request, std::uint64_t room) const {
    request.device =
        DeviceRoom{.bytes = room,
                   .fixed_bytes = kScratchBytes + fixed_device_bytes(0) - scratch_bytes_of(0),
                   .driver_bytes = 0};
    return plan_if_it_fits(description_.spec, request);
  }
  // What is planned in less and less room, from everything resident to the least that will do.
  std::vector<Rung> planned(const PlanRequest& asked) const {
    std::vector<Rung> rungs;
    std::uint64_t fits = std::uint64_t{16} << 30, too_small = 0;
    while (fits - too_small > 4096)
      (plan_in(asked, (fits + too_small) / 2) ? fits : too_small) = (fits + too_small) / 2;
    const std::uint64_t all = fits + (std::uint64_t{1} << 30);
    constexpr std::uint64_t kSteps = 8192;
    for (std::uint64_t step = kSteps + 1; step-- > 0;) {
      const std::uint64_t room = fits + (all - fits) * step / kSteps;
      const auto plan = plan_in(asked, room);
      if (!plan || (!rungs.empty() && rungs.back().plan.mode == plan->mode && step > 0)) continue;
      rungs.push_back(
          {.name = plan->mode + " in " + std::to_string(room >> 10) + " KiB",
           .plan = *plan,
           .device = {.vram_limit_bytes = room + kUncounted, .scratch_bytes = kScratchBytes}});
    }
    return rungs;
  }

  std::unique_ptr<ExpertStore> place(const Plan& plan, Ops& ops, Ops& processor) const {
    const ModelSpec& spec = description_.spec;
    if (plan.all_resident) return make_resident_experts(spec, *host_experts_, ops.memory());
    ExpertPlacement placement = plan.placement;
    placement.link_rate = placement.memory_rate = 50e9;
    placement.processor_rate = 20e9;
    placement.processor_token_seconds = 1e-6;
    return make_placed_experts(
        spec,
        cuda::place_experts(ops, sparse_expert_layers(spec, *host_experts_), placement, processor));
  }

  // All prompts at once.
  Climbed climb(const Rung& rung) {
    SCOPED_TRACE(rung.name);
    Climbed climbed;
    const auto ops = test::make_device_ops(rung.device);
    const auto experts = place(rung.plan, *ops, processor_.ops());
    Model model(description_, *source_, experts.get(), DenseFormats{}, *ops, rung.plan.part_tokens);
    if (rung.reserved) model.reserve(rung.plan.workspace_bytes);
    const EngineLimits limits = {.context_length = kContext,
                                 .max_sequences = rung.plan.sequences,
                                 .prompt_chunk = rung.plan.pass_tokens,
                                 .page_tokens = kPageTokens,
                                 .pages = kContext / kPageTokens};
    Engine engine(std::make_unique<ScarceRunner>(model,
                                                 StateSize{.pages = limits.pages,
                                                           .page_tokens = kPageTokens,
                                                           .slots = limits.max_sequences,
                                                           .kv_type = DType::BF16},
                                                 rung.refuses, climbed.least_part),
                  limits);
    const std::vector<Answer> answers = ask_all(engine);
    int equal = 0, right = 0, failed = 0;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      if (answers[i].finish == FinishReason::Failed && rung.may_fail) {
        EXPECT_EQ(answers[i].error_code, ErrorCode::OutOfMemory);
        ++failed;
        continue;
      }
      EXPECT_EQ(answers[i].finish, FinishReason::Length) << "prompt " << i;
      if (answers[i].finish != FinishReason::Length) continue;
      if (answers[i].tokens == expected_[i]) {
        ++equal;
      } else {
        test::expect_right(answers[i].tokens, prompts_[i], *judge_, processors_judge_.get());
        ++right;
      }
    }
    const EngineStatus status = engine.status();
    EXPECT_EQ(status.pages_free, status.pages_total);
    std::printf(
        "%s: %s, parts of %lld to %lld: %d equal, %d as good, %d clean errors; %llu steps without "
        "memory\n",
        GetParam().c_str(), rung.name.c_str(), static_cast<long long>(rung.plan.part_tokens),
        static_cast<long long>(climbed.least_part), equal, right, failed,
        static_cast<unsigned long long>(status.steps_without_memory));
    EXPECT_TRUE(rung.may_fail || equal + right == static_cast<int>(kPrompts));
    climbed.steps_without_memory = status.steps_without_memory;
    return climbed;
  }

  ModelDescription description_;
  std::unique_ptr<TensorSource> source_;
  test::Backend processor_{"cpu"};
  std::unique_ptr<ExpertStore> host_experts_;
  std::unique_ptr<test::LoadedModel> judge_, processors_judge_;
  std::vector<std::vector<std::int32_t>> prompts_;
  std::vector<std::vector<std::int32_t>> expected_;
};

TEST_P(StepDown, AHundredPromptsInEveryModeThatACapLeaves) {
  std::map<std::string, int> modes;
  // Of prompts in passes that are short whatever the room is, and in ones that room makes longer.
  for (const PlanRequest& asked : {request({}, 512), request(1, 512), request(1), request(2)}) {
    for (const Rung& rung : planned(asked)) {
      ++modes[rung.plan.mode];
      EXPECT_EQ(climb(rung).steps_without_memory, 0U)
          << rung.name << ": the plan had counted everything";
    }
  }
  for (const char* mode : {"auto", "persistent", "grouped(2)", "grouped(4)", "chunked"})
    EXPECT_GE(modes[mode], 1) << mode;
}

TEST_P(StepDown, AHundredPromptsInStepsThatBecomeSmallerAndSmaller) {
  for (const std::int64_t divisor : {1, 2}) {
    const Plan plan = planned(request(divisor)).front().plan;
    for (const std::int64_t most : {2000, 300, 40}) {
      const Climbed climbed = climb(
          {.name = plan.mode + ", no memory for more than " + std::to_string(most) + " tokens",
           .plan = plan,
           .refuses = [most](const Batch& batch) { return batch.tokens() > most; }});
      EXPECT_GE(climbed.steps_without_memory,
                static_cast<std::uint64_t>(std::log2(kLongest / static_cast<double>(most))));
      EXPECT_LE(climbed.least_part, most);
    }
    EXPECT_GE(climb({.name = plan.mode + ", no memory for answers to more than two",
                     .plan = plan,
                     .refuses =
                         [](const Batch& batch) {
                           return batch.segments.size() > 2 &&
                                  batch.tokens() == std::ssize(batch.segments);
                         }})
                  .steps_without_memory,
              1U);
  }
}

TEST_P(StepDown, AHundredPromptsWithLittleMemoryOfEveryKind) {
  for (const std::int64_t divisor : {1, 2}) {
    const Plan plan = planned(request(divisor)).front().plan;
    const std::string mode = plan.mode + ", ";
    // Beside a product's workspace, 512 rows of 256 numbers of 16 bits.
    EXPECT_LE(climb({.name = mode + "scratch for few tokens",
                     .plan = plan,
                     .device = {.scratch_bytes = kCublasBytes + (std::size_t{256} << 10)}})
                  .least_part,
              512);
    EXPECT_GE(climb({.name = mode + "scratch for no product",
                     .plan = plan,
                     .device = {.scratch_bytes = std::size_t{256} << 10},
                     .may_fail = true})
                  .steps_without_memory,
              1U);
    const std::uint64_t room = total_bytes(plan.vram) - plan.workspace_bytes - plan.cache_bytes;
    EXPECT_GE(climb({.name = mode + "a workspace that cannot grow",
                     .plan = plan,
                     .device = {.vram_limit_bytes =
                                    room + kContext / kPageTokens * request({}).page_bytes +
                                    (std::size_t{12} << 20),
                                .scratch_bytes = kScratchBytes},
                     .reserved = false})
                  .steps_without_memory,
              1U);
  }
}

INSTANTIATE_TEST_SUITE_P(, StepDown, testing::Values("qwen3-moe-tiny", "qwen3-next-tiny"),
                         [](const auto& model) {
                           return test::test_name({model.param, "cuda"});
                         });

}  // namespace
}  // namespace krasis
