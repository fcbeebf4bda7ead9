// Checkpoints that do not fit their config.json are refused by the tensor's name, before anything
// else is asked of them.
#include <functional>
#include <gtest/gtest.h>

#include "model/loaded_model.h"

namespace krasis {
namespace {

using test::LoadedModel;

// A checkpoint in which one tensor is gone or looks otherwise.
class AlteredSource final : public TensorSource {
 public:
  using Alter = std::function<std::optional<TensorView>(const TensorView&)>;
  AlteredSource(TensorSource& source, std::string name, Alter alter)
      : source_(source), name_(std::move(name)), alter_(std::move(alter)) {}

  std::optional<TensorView> find(const std::string& name, const Shape& expected) override {
    const std::optional<TensorView> view = source_.find(name, expected);
    return view && name == name_ ? alter_(*view) : view;
  }
  std::string description() const override { return "altered"; }
  std::string fingerprint() const override { return ""; }

 private:
  TensorSource& source_;
  std::string name_;
  Alter alter_;
};

class Refusals : public testing::Test {
 protected:
  void SetUp() override { KRASIS_NEEDS_REFERENCE(); }

  static std::string refusal(const std::string& model, const std::string& tensor,
                             const AlteredSource::Alter& alter) {
    const auto dir = test::reference_model_dir(model);
    const ModelDescription description = read_model_description(dir);
    const auto source = open_checkpoint(dir);
    const auto experts = make_plain_experts(description, *source);
    AlteredSource altered(*source, tensor, alter);
    const auto ops = make_reference_ops();
    try {
      const Model loaded(description, altered, experts.get(), {}, *ops);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
  static std::optional<TensorView> gone(const TensorView& /*view*/) { return std::nullopt; }
};

TEST_F(Refusals, NameAMissingTensor) {
  for (const char* name :
       {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight",
        "model.layers.3.self_attn.q_norm.weight", "model.layers.0.linear_attn.A_log",
        "model.layers.2.mlp.shared_expert_gate.weight", "model.layers.1.mlp.gate.weight"}) {
    const std::string text = refusal("qwen3-next-tiny", name, gone);
    EXPECT_NE(text.find("\"" + std::string(name) + "\""), std::string::npos) << text;
  }
  const std::string packed = "language_model.model.layers.1.mlp.gate.e_score_correction_bias";
  EXPECT_NE(refusal("kimi-k2.5-tiny", packed, gone).find(packed), std::string::npos);
}

TEST_F(Refusals, NameAMisshapenTensor) {
  const auto flat = [](const TensorView& view) {
    return TensorView(view.data(), view.dtype(), {1, view.shape().count()});
  };
  const std::string text =
      refusal("deepseek-v3-tiny", "model.layers.1.self_attn.kv_b_proj.weight", flat);
  EXPECT_NE(text.find("model.layers.1.self_attn.kv_b_proj.weight"), std::string::npos) << text;
  EXPECT_NE(text.find("[512, 512]"), std::string::npos) << text;
  EXPECT_NE(text.find("[1, 262144]"), std::string::npos) << text;
}

TEST_F(Refusals, NameATensorOfATypeThatIsNotRun) {
  const auto bytes = [](const TensorView& view) {
    return TensorView(view.data(), DType::I16, view.shape());
  };
  EXPECT_EQ(refusal("llama-dense-tiny", "model.layers.0.mlp.up_proj.weight", bytes),
            "checkpoint: altered: \"model.layers.0.mlp.up_proj.weight\" is I16, but dense weights "
            "must be F32, BF16 or F16");
}

TEST_F(Refusals, TiedHeadsNeedNoTensor) {
  EXPECT_EQ(refusal("llama-dense-tiny", "lm_head.weight", gone), "");
}

TEST_F(Refusals, SparseLayersNeedExperts) {
  const auto dir = test::reference_model_dir("qwen3-moe-tiny");
  const auto source = open_checkpoint(dir);
  const auto ops = make_reference_ops();
  EXPECT_THROW(Model(read_model_description(dir), *source, nullptr, {}, *ops), Error);
}

TEST_F(Refusals, LogitsMustHaveRoomForTheWantedRows) {
  const auto ops = make_reference_ops();
  LoadedModel loaded(test::reference_model_dir("llama-dense-tiny"), *ops);
  ModelState state(loaded.spec(), {.pages = 1}, loaded.model.memory());
  const std::vector<std::int32_t> pages = {0};
  Batch batch = {.ids = {1},
                 .positions = {0},
                 .segments = {{.first_row = 0, .rows = 1, .past = 0, .slot = 0, .pages = pages}},
                 .logit_rows = {0}};
  std::vector<float> logits(511);
  try {
    loaded.model.forward(batch, state, {logits.data(), 1, 511});
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "model: logits [1, 511] are not [1, 512]");
  }
  batch.logit_rows.clear();
  EXPECT_NO_THROW(loaded.model.forward(batch, state, {}));
}

}  // namespace
}  // namespace krasis
