// Prompts whose experts are divided between the device and the processor: layers of random experts,
// against the same op with all experts in the device's memory and against the processor alone; and
// whole models.
#include <map>

#include "gpu/experts_only.h"
#include "gpu/placed_model.h"
#include "quant/expert_tiles.h"

namespace krasis {
namespace {

using test::LoadedModel;
using test::PlacedModel;
using test::relative_error;
using test::Session;

constexpr std::int64_t kHidden = 256;
constexpr std::int64_t kIntermediate = 96;
constexpr std::int64_t kExperts = 40;
constexpr std::int64_t kTopK = 6;
constexpr std::size_t kLayers = 3;
constexpr std::int64_t kLengths[] = {2, 3, 17, 100, 300};

std::vector<float> normal_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  std::ranges::generate(values, [&] { return normal(random); });
  return values;
}

// A layer of INT4 experts with random weights.
struct RandomLayer {
  explicit RandomLayer(unsigned seed)
      : layout({4, 128}, kHidden, kIntermediate), memory(layout.layer_bytes(kExperts)) {
    std::mt19937 random(seed);
    std::ranges::generate(std::span(memory.as<std::uint8_t>(), memory.bytes()),
                          [&] { return static_cast<std::uint8_t>(random()); });
    for (std::int64_t e = 0; e < kExperts; ++e) {
      std::byte* base = memory.data() + static_cast<std::size_t>(e) * layout.expert_bytes;
      const auto fill = [&](std::size_t at, const TileShape& shape) {
        auto* scales = reinterpret_cast<bf16*>(base + at);
        for (std::size_t i = 0; i < shape.scale_bytes() / sizeof(bf16); ++i)
          scales[i] = to_bf16(0.005F + 0.0001F * static_cast<float>(random() % 100));
      };
      fill(layout.w13_scales, layout.w13);
      fill(layout.w2_scales, layout.w2);
    }
  }
  ExpertMatrices matrices(const std::byte* base) const {
    return ExpertMatrices::of(layout, kExperts, base);
  }

  ExpertLayout layout;
  HostBuffer memory;
};

// A prompt's tokens and their experts. Low numbers are chosen more often, and some not at all.
struct Prompt {
  explicit Prompt(std::int64_t tokens)
      : x(normal_values(static_cast<std::size_t>(tokens * kHidden), 5)),
        ids(static_cast<std::size_t>(tokens * kTopK)),
        weights(normal_values(ids.size(), 6)),
        rows(tokens) {
    std::mt19937 random(static_cast<unsigned>(tokens));
    for (std::size_t n = 0; n < ids.size(); ++n) {
      const auto first = static_cast<std::ptrdiff_t>(n / kTopK * kTopK);
      do {
        ids[n] = static_cast<std::int32_t>(random() % kExperts * (random() % kExperts) / kExperts);
      } while (std::find(ids.begin() + first, ids.begin() + static_cast<std::ptrdiff_t>(n),
                         ids[n]) != ids.begin() + static_cast<std::ptrdiff_t>(n));
    }
    if (tokens > 2) std::fill_n(ids.begin() + kTopK, kTopK, -1);  // somebody else's
  }
  std::vector<float> x;
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  std::int64_t rows;
};

class Ways : public testing::Test {
 protected:
  Ways() {
    for (unsigned i = 0; i < kLayers; ++i) layers_.emplace_back(20 + i);
  }

  // Of every layer, one after another.
  static std::vector<float> run(Ops& ops, std::span<const ExpertMatrices> layers,
                                const Prompt& prompt) {
    Memory& memory = ops.memory();
    const auto place = [&](const auto& values) {
      Buffer buffer = memory.allocate(values.size() * sizeof values[0]);
      memory.upload(buffer.data(), values.data(), buffer.bytes());
      return buffer;
    };
    const Buffer x = place(prompt.x), ids = place(prompt.ids), weights = place(prompt.weights);
    std::vector<float> all(prompt.x.size() * layers.size());
    const Buffer out = memory.allocate(all.size() * sizeof(float));
    // What is left in memory must not matter.
    const std::vector<float> nans(all.size(), std::numeric_limits<float>::quiet_NaN());
    memory.upload(out.data(), nans.data(), out.bytes());
    ops.begin_step({}, prompt.rows);
    ops.begin_pass(prompt.rows, 1);
    for (std::size_t i = 0; i < layers.size(); ++i) {
      ops.experts({.x = {x.as<float>(), prompt.rows, kHidden},
                   .ids = {ids.as<std::int32_t>(), prompt.ids.size()},
                   .weights = {weights.as<float>(), prompt.weights.size()},
                   .top_k = kTopK,
                   .matrices = layers[i],
                   .out = {out.as<float>() + i * prompt.x.size(), prompt.rows, kHidden}});
    }
    ops.end_pass();
    ops.synchronize();
    memory.download(all.data(), out.data(), out.bytes());
    return all;
  }

  std::vector<ExpertMatrices> in_program() const {
    std::vector<ExpertMatrices> all;
    for (const RandomLayer& layer : layers_) all.push_back(layer.matrices(layer.memory.data()));
    return all;
  }
  std::vector<float> on_device(const Prompt& prompt) const {
    Ops& ops = test::device_ops();
    std::vector<Buffer> memory;
    std::vector<ExpertMatrices> all;
    for (const RandomLayer& layer : layers_) {
      memory.push_back(ops.memory().allocate(layer.memory.bytes()));
      ops.memory().upload(memory.back().data(), layer.memory.data(), layer.memory.bytes());
      all.push_back(layer.matrices(memory.back().data()));
    }
    return run(ops, all, prompt);
  }
  std::vector<float> on_processor(const Prompt& prompt) {
    return run(processor_.ops(), in_program(), prompt);
  }

  std::vector<RandomLayer> layers_;
  test::Backend processor_{"cpu"};
};

// The experts of the class's layers placed on a device of their own.
struct Placed {
  Placed(const std::vector<ExpertMatrices>& layers, const ExpertPlacement& placement,
         Ops& processor, bool pinned = true)
      : ops(test::make_device_ops({.scratch_bytes = test::kScratchBytes, .pin_experts = pinned})),
        placed(cuda::place_experts(*ops, layers, placement, processor)) {}
  std::unique_ptr<Ops> ops;
  std::span<const ExpertMatrices> placed;
};

TEST_F(Ways, CopiedExpertsGiveTheBitsOfResidentOnes) {
  for (const std::int64_t resident : {0, 35, 200}) {
    for (const bool pinned : {true, false}) {
      Placed ways(in_program(), {.mode = ExpertMode::ActiveOnly, .resident = resident},
                  processor_.ops(), pinned);
      for (const std::int64_t tokens : kLengths) {
        const Prompt prompt(tokens);
        EXPECT_EQ(run(*ways.ops, ways.placed, prompt), on_device(prompt))
            << tokens << " tokens, " << resident << " resident, pinned: " << pinned;
        for (const cuda::WayTimes& layer : cuda::way_times(*ways.ops))
          EXPECT_EQ(layer.processed, 0);
      }
    }
  }
}

// Half a layer's experts fit at a time; then the sums have another order.
TEST_F(Ways, ExpertsComeInRoundsWhereTheRingIsSmall) {
  for (const std::int64_t resident : {0, 7}) {
    Placed ways(in_program(),
                {.mode = ExpertMode::ActiveOnly, .resident = resident, .ring_layers = 1},
                processor_.ops());
    for (const std::int64_t tokens : kLengths) {
      const Prompt prompt(tokens);
      EXPECT_LE(relative_error(run(*ways.ops, ways.placed, prompt), on_device(prompt)), 1e-6)
          << tokens;
    }
  }
}

TEST_F(Ways, TheProcessorAloneGivesItsOwnBits) {
  Placed ways(in_program(), {.prompt_threshold = 1000}, processor_.ops());
  for (const std::int64_t tokens : kLengths) {
    const Prompt prompt(tokens);
    EXPECT_EQ(run(*ways.ops, ways.placed, prompt), on_processor(prompt)) << tokens;
  }
}

// Slow enough that what a call costs does not matter, and equally slow.
ExpertPlacement halves(std::int64_t resident, std::int64_t ring_layers = 2) {
  return {.resident = resident,
          .ring_layers = ring_layers,
          .adaptive = false,
          .link_rate = 1e6,
          .processor_rate = 1e6};
}

// Processor and device differ by the rounding of activations, expert by expert: of a part of the
// experts the difference is a part of that of all.
TEST_F(Ways, AllThreeTogetherAreNoFartherFromTheDeviceThanTheProcessor) {
  for (const std::int64_t resident : {0, 35}) {
    for (const std::int64_t ring_layers : {1, 2}) {
      Placed ways(in_program(), halves(resident, ring_layers), processor_.ops());
      for (const std::int64_t tokens : kLengths) {
        const Prompt prompt(tokens);
        const auto device = on_device(prompt);
        const double processor = relative_error(on_processor(prompt), device);
        const auto together = run(*ways.ops, ways.placed, prompt);
        EXPECT_LT(relative_error(together, device), processor) << tokens << " tokens";
        EXPECT_GT(relative_error(together, device), 0);
        EXPECT_EQ(run(*ways.ops, ways.placed, prompt), together) << "a second time";
        const auto times = cuda::way_times(*ways.ops);
        ASSERT_EQ(times.size(), kLayers);
        for (const cuda::WayTimes& layer : times) {
          EXPECT_EQ(layer.tokens, tokens);
          EXPECT_GT(layer.copied, 0);
          EXPECT_GT(layer.processed, 0);
          if (tokens >= 17) {
            EXPECT_EQ(layer.resident > 0, resident > 0);
          }
          EXPECT_GE(layer.end_ms, layer.copy_end_ms);
        }
      }
    }
  }
}

TEST_F(Ways, APassThatThrowsHasTheTimesOfWhatCameBeforeAndLeavesTheNextOneRight) {
  int calls = 0;
  test::ExpertsOnly failing(processor_.ops(), [&](Ops& inner, const Experts& op) {
    if (++calls == 2) throw Error(ErrorCode::OutOfMemory, "test: no memory");
    inner.experts(op);
  });
  Placed ways(in_program(), halves(20), failing);
  const Prompt prompt(100);
  EXPECT_THROW(run(*ways.ops, ways.placed, prompt), Error);
  EXPECT_EQ(cuda::way_times(*ways.ops).size(), 1U);
  const auto after = run(*ways.ops, ways.placed, prompt);
  EXPECT_EQ(cuda::way_times(*ways.ops).size(), kLayers);
  Placed others(in_program(), halves(20), processor_.ops());
  EXPECT_EQ(after, run(*others.ops, others.placed, prompt));
}

TEST_F(Ways, TheThresholdDecidesBetweenCopiesAndTheProcessor) {
  for (const std::int64_t tokens : kLengths) {
    const Prompt prompt(tokens);
    ExpertPlacement placement = halves(20);
    placement.prompt_threshold = 100;
    Placed ways(in_program(), placement, processor_.ops());
    const double error = relative_error(run(*ways.ops, ways.placed, prompt), on_device(prompt));
    EXPECT_EQ(error > 1e-4, tokens < 100) << tokens;  // the processor's rounding is 1e-2
    for (const cuda::WayTimes& layer : cuda::way_times(*ways.ops)) {
      EXPECT_EQ(layer.copied > 0, tokens >= 100) << tokens;
      EXPECT_EQ(layer.processed > 0, tokens < 100) << tokens;
    }
  }
}

class WaysOfModels : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    KRASIS_NEEDS_REFERENCE();
    ids_ = test::Golden(GetParam()).values<std::int32_t>("input_ids");
    const std::vector<std::int32_t> once = ids_;
    while (ids_.size() < 300) ids_.insert(ids_.end(), once.begin(), once.end());
  }
  // Two prompts one after another.
  std::vector<float> prompts(LoadedModel& loaded, std::size_t tokens) const {
    Session session(loaded, 64, 4, DType::BF16);
    Session::Sequence first = {.slot = 1}, second = {.slot = 2};
    const std::span<const std::int32_t> ids = std::span(ids_).first(tokens);
    std::vector<float> all = session.step(first, ids);
    const std::vector<float> more = session.step(second, ids.first((tokens + 1) / 2 + 1));
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  std::vector<std::int32_t> ids_;
};

TEST_P(WaysOfModels, ActiveOnlyGivesTheLogitsOfAllResident) {
  LoadedModel resident(test::reference_model_dir(GetParam()), test::device_ops(),
                       test::kPlacedFormats, 4);
  for (const std::int64_t experts : {0, 9}) {
    PlacedModel active(GetParam(), {.mode = ExpertMode::ActiveOnly, .resident = experts});
    for (const std::size_t tokens : {2U, 3U, 17U, 100U, 300U}) {
      EXPECT_EQ(prompts(active.loaded(), tokens), prompts(resident, tokens))
          << tokens << " tokens, " << experts << " resident";
    }
  }
}

// As tests/gpu/agreement_test.cpp derives it for a model on the device and on the processor.
constexpr double kQuantizedTolerance = 1e-1;

TEST_P(WaysOfModels, DividedExpertsGiveTheLogitsOfAllResident) {
  LoadedModel resident(test::reference_model_dir(GetParam()), test::device_ops(),
                       test::kPlacedFormats, 4);
  const auto expected = prompts(resident, 300);
  PlacedModel divided(GetParam(), halves(2));  // few: the smallest has six experts
  const double error = relative_error(prompts(divided.loaded(), 300), expected);
  std::printf("divided %s: %.2e\n", GetParam().c_str(), error);
  EXPECT_LE(error, kQuantizedTolerance);
  EXPECT_FALSE(cuda::way_times(divided.ops()).empty());
}

INSTANTIATE_TEST_SUITE_P(, WaysOfModels, testing::ValuesIn(test::models_with_experts()),
                         [](const auto& model) {
                           return test::test_name({model.param, "cuda"});
                         });

}  // namespace
}  // namespace krasis
