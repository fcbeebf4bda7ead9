// A feed-forward network with biases, which no reference model has, against its formula in double.
#include <cmath>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "model/loaded_model.h"
#include "model/trace.h"
#include "support/temporary_folder.h"

namespace krasis {
namespace {

constexpr std::int64_t kHidden = 40, kIntermediate = 24, kVocab = 11;

// One layer whose attention adds nothing (its output projection is zero), so that what the layer
// adds to the embedding is the feed-forward network alone.
class BiasedModel {
 public:
  BiasedModel() {
    const nlohmann::json config = {
        {"model_type", "llama"},         {"hidden_size", kHidden},
        {"vocab_size", kVocab},          {"intermediate_size", kIntermediate},
        {"num_hidden_layers", 1},        {"num_attention_heads", 2},
        {"max_position_embeddings", 64}, {"mlp_bias", true},
        {"tie_word_embeddings", true},   {"rms_norm_eps", 1e-6}};
    write_file_atomically(folder_ / "config.json", config.dump());
    const std::string layer = "model.layers.0.";
    add("model.embed_tokens.weight", {kVocab, kHidden}, 1);
    add("model.norm.weight", {kHidden}, 1);
    add(layer + "input_layernorm.weight", {kHidden}, 1);
    add(layer + "post_attention_layernorm.weight", {kHidden}, 1);
    for (const char* name : {"q", "k", "v"})
      add(layer + "self_attn." + name + "_proj.weight", {kHidden, kHidden}, 0.2F);
    add(layer + "self_attn.o_proj.weight", {kHidden, kHidden}, 0);
    for (const char* name : {"gate", "up"}) {
      add(layer + "mlp." + name + "_proj.weight", {kIntermediate, kHidden}, 0.2F);
      add(layer + "mlp." + name + "_proj.bias", {kIntermediate}, 2);
    }
    add(layer + "mlp.down_proj.weight", {kHidden, kIntermediate}, 0.2F);
    add(layer + "mlp.down_proj.bias", {kHidden}, 2);
    std::vector<NamedTensor> named;
    for (const auto& [name, shape] : shapes_)
      named.push_back({name, view_of(std::span<const float>(values_.at(name)), shape)});
    write_safetensors(folder_ / "model.safetensors", named);
  }

  const std::filesystem::path& dir() const { return folder_.path(); }
  const std::vector<float>& operator[](const std::string& name) const {
    return values_.at("model." + name);
  }

  // embedding + down (silu(gate x + gate_bias) * (up x + up_bias)) + down_bias, x = norm(embedding)
  std::vector<float> expected(std::int32_t id) const {
    const auto first = static_cast<std::size_t>(id * kHidden);
    const std::vector<float> embedding(
        (*this)["embed_tokens.weight"].begin() + static_cast<std::ptrdiff_t>(first),
        (*this)["embed_tokens.weight"].begin() + static_cast<std::ptrdiff_t>(first + kHidden));
    double square = 0;
    for (const float value : embedding) square += double{value} * value / kHidden;
    std::vector<double> x(kHidden);
    for (std::size_t i = 0; i < kHidden; ++i) {
      x[i] = embedding[i] / std::sqrt(square + 1e-6) *
             (*this)["layers.0.post_attention_layernorm.weight"][i];
    }
    const auto gate = product("gate", x), up = product("up", x);
    std::vector<double> middle(kIntermediate);
    for (std::size_t i = 0; i < kIntermediate; ++i)
      middle[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
    const auto down = product("down", middle);
    std::vector<float> result(kHidden);
    for (std::size_t i = 0; i < kHidden; ++i)
      result[i] = static_cast<float>(embedding[i] + down[i]);
    return result;
  }

 private:
  void add(const std::string& name, const Shape& shape, float deviation) {
    std::normal_distribution<float> normal(0, 1);
    std::vector<float> values(static_cast<std::size_t>(shape.count()));
    for (float& value : values) value = deviation * normal(random_);
    values_.emplace(name, std::move(values));
    shapes_.emplace(name, shape);
  }

  std::vector<double> product(const std::string& name, const std::vector<double>& x) const {
    const auto& weight = (*this)["layers.0.mlp." + name + "_proj.weight"];
    const auto& bias = (*this)["layers.0.mlp." + name + "_proj.bias"];
    std::vector<double> out(bias.begin(), bias.end());
    for (std::size_t row = 0; row < out.size(); ++row)
      for (std::size_t i = 0; i < x.size(); ++i) out[row] += weight[row * x.size() + i] * x[i];
    return out;
  }

  test::TemporaryFolder folder_;
  std::mt19937 random_{3};
  std::map<std::string, std::vector<float>> values_;
  std::map<std::string, Shape> shapes_;
};

double error_with(const BiasedModel& model, const std::string& backend_name,
                  const DenseFormats& formats) {
  test::Backend backend(backend_name);
  test::LoadedModel loaded(model.dir(), backend.ops(), formats);
  const std::vector<std::int32_t> ids = {3, 10, 0};
  const Trace trace = trace_prompt(loaded.model, ids);
  std::vector<float> expected;
  for (const std::int32_t id : ids) {
    const auto row = model.expected(id);
    expected.insert(expected.end(), row.begin(), row.end());
  }
  return test::relative_error(trace.tensors.at("hidden.0").values, expected);
}

TEST(Biases, OfAFeedForwardNetworkAreAdded) {
  const BiasedModel model;
  EXPECT_LT(error_with(model, "reference", {}), 1e-6);
  EXPECT_LT(error_with(model, "cpu", {}), 1e-6);
}

TEST(Biases, ShareNoScaleWithInt8Weights) {
  const BiasedModel model;
  const DenseFormats formats = {.dense_mlp = DenseFormat::Int8};
  // As without biases: about 1 % of a product.
  EXPECT_LT(error_with(model, "reference", formats), 0.02);
  EXPECT_LT(error_with(model, "cpu", formats), 0.02);
}

}  // namespace
}  // namespace krasis
