// A reference model loaded for a test, and sequences that run on it.
#pragma once

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "cpu/cpu_ops.h"
#include "formats/safetensors.h"
#include "model/model.h"
#include "support/reference_data.h"
#include "weights/plain_experts.h"
#include "weights/resident_experts.h"
#include "weights/tensor_source.h"
#include "weights/tile_experts.h"

namespace krasis::test {

inline const std::vector<std::string>& reference_models() {
  static const std::vector<std::string> names = {
      "qwen3-moe-tiny",   "qwen3-next-tiny",  "deepseek-v2-lite-tiny",
      "deepseek-v3-tiny", "kimi-k2-tiny",     "kimi-k2.5-tiny",
      "glm4-moe-tiny",    "qwen3-dense-tiny", "llama-dense-tiny"};
  return names;
}

inline std::vector<std::string> models_with_experts() {
  std::vector<std::string> names = reference_models();
  std::erase_if(names, [](const std::string& name) { return name.find("dense") < name.size(); });
  return names;
}

// The operations that a model is run with.
class Backend {
 public:
  explicit Backend(const std::string& name) {
    if (name == "reference") {
      ops_ = make_reference_ops();
    } else {
      pool_ = std::make_unique<ThreadPool>(ThreadPoolOptions{.threads = 2, .pin = false});
      ops_ = cpu::make_cpu_ops(*pool_);
    }
  }
  Ops& ops() { return *ops_; }

 private:
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<Ops> ops_;
};

// A reference model and the operations it is run with.
struct Case {
  std::string model, backend;
};
inline std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const char* backend : {"reference", "cpu"})
    for (const std::string& model : reference_models()) cases.push_back({model, backend});
  return cases;
}
inline void PrintTo(const Case& one, std::ostream* out) {
  *out << one.model << " " << one.backend;
}

// gtest names may hold letters, digits and underscores only.
inline std::string test_name(const Case& one) {
  std::string name = one.backend + "_" + one.model;
  std::ranges::replace_if(
      name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
  return name;
}

// Experts for `memory`: as stored (16 bits) or as tiles of 4 or 8 bits.
inline std::unique_ptr<ExpertStore> load_experts(const ModelDescription& description,
                                                 TensorSource& source, int bits, Memory& memory) {
  std::unique_ptr<ExpertStore> experts;
  if (bits == 16) {
    experts = make_plain_experts(description, source);
  } else {
    TileOptions options;
    options.type = expert_tile_type(description.spec, bits);
    experts = make_tile_experts(description, source, options);
  }
  return memory.is_host() ? std::move(experts)
                          : make_resident_experts(description.spec, *experts, memory);
}

// Experts as a model's ops want them.
using MakeExperts =
    std::function<std::unique_ptr<ExpertStore>(const ModelDescription&, TensorSource&)>;

struct LoadedModel {
  LoadedModel(const std::filesystem::path& dir, Ops& backend, const DenseFormats& formats = {},
              int expert_bits = 16)
      : LoadedModel(dir, backend, formats,
                    [&](const ModelDescription& which, TensorSource& tensors) {
                      return load_experts(which, tensors, expert_bits, backend.memory());
                    }) {}
  LoadedModel(const std::filesystem::path& dir, Ops& backend, const DenseFormats& formats,
              const MakeExperts& make_experts, std::int64_t part_tokens = Model::kPartTokens)
      : description(read_model_description(dir)),
        source(open_checkpoint(dir)),
        experts(make_experts(description, *source)),
        model(description, *source, experts.get(), formats, backend, part_tokens) {}

  const ModelSpec& spec() const { return description.spec; }

  ModelDescription description;
  std::unique_ptr<TensorSource> source;
  std::unique_ptr<ExpertStore> experts;
  Model model;
};

inline std::filesystem::path reference_model_dir(const std::string& name) {
  return reference_dir() / "models" / name;
}

class Golden {
 public:
  explicit Golden(const std::string& model)
      : file_(reference_model_dir(model) / "golden.safetensors") {}

  bool has(const std::string& name) const { return file_.find(name) != nullptr; }
  template <class T>
  std::vector<T> values(const std::string& name) const {
    const SafetensorsEntry* entry = file_.find(name);
    ensure(entry != nullptr, "golden: no such tensor");
    const TensorView view = file_.view(*entry);
    ensure(view.dtype() == dtype_of<T>(), "golden: another type");
    std::vector<T> values(static_cast<std::size_t>(view.shape().count()));
    std::memcpy(values.data(), view.data(), view.bytes());  // the file may hold it askew
    return values;
  }

 private:
  SafetensorsFile file_;
};

// The experts that each token gets in a sparse layer with these router logits [tokens, experts].
inline std::vector<std::set<std::int32_t>> chosen_experts(LoadedModel& loaded, std::int64_t layer,
                                                          const std::vector<float>& logits) {
  const auto& ffn = std::get<SparseFfn>(loaded.spec().layers[static_cast<std::size_t>(layer)].ffn);
  const auto top_k = static_cast<std::size_t>(ffn.routing.top_k);
  const auto tokens = logits.size() / static_cast<std::size_t>(ffn.routing.experts);
  std::vector<std::int32_t> ids(tokens * top_k);
  std::vector<float> weights(ids.size()), bias;
  if (ffn.routing_bias) {
    const std::string name = tensor_name(*loaded.description.architecture, Role::RouterBias, layer);
    const auto values = loaded.source->require(name, {ffn.routing.experts}).as<float>();
    bias.assign(values.begin(), values.end());
  }
  make_reference_ops()->route(
      {.logits = Rows(logits.data(), static_cast<std::int64_t>(tokens), ffn.routing.experts),
       .bias = bias,
       .routing = ffn.routing,
       .ids = ids,
       .weights = weights});
  std::vector<std::set<std::int32_t>> chosen(tokens);
  for (std::size_t i = 0; i < ids.size(); ++i) chosen[i / top_k].insert(ids[i]);
  return chosen;
}

// |a - b| / |b|
inline double relative_error(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    difference += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    norm += double{b[i]} * b[i];
  }
  return std::sqrt(difference / norm);
}

// A state with pages in random order, dealt out to sequences as they grow.
class Session {
 public:
  static constexpr std::int64_t kPageTokens = 16;

  explicit Session(LoadedModel& loaded, std::int64_t pages = 64, std::int64_t slots = 4,
                   DType kv_type = DType::F32)
      : loaded_(loaded),
        state_(loaded.spec(),
               {.pages = pages, .page_tokens = kPageTokens, .slots = slots, .kv_type = kv_type},
               loaded.model.memory()) {
    free_.resize(static_cast<std::size_t>(pages));
    std::iota(free_.begin(), free_.end(), 0);
    std::mt19937 random(7);
    std::ranges::shuffle(free_, random);
  }

  struct Sequence {
    std::int64_t slot = 0;
    std::int64_t past = 0;
    std::vector<std::int32_t> pages = {};
  };
  struct Part {
    Sequence* sequence;
    std::span<const std::int32_t> ids;
  };

  // Runs all parts in one step. Returns the logits of every row, [tokens][vocab] flat.
  std::vector<float> step(std::span<const Part> parts, Observer* observer = nullptr) {
    Batch batch;
    for (const Part& part : parts) {
      Sequence& sequence = *part.sequence;
      const auto rows = static_cast<std::int64_t>(part.ids.size());
      while (static_cast<std::int64_t>(sequence.pages.size()) * kPageTokens <
             sequence.past + rows) {
        sequence.pages.push_back(free_.back());
        free_.pop_back();
      }
      batch.segments.push_back({.first_row = batch.tokens(),
                                .rows = rows,
                                .past = sequence.past,
                                .slot = sequence.slot,
                                .pages = sequence.pages});
      for (const std::int32_t id : part.ids) {
        batch.ids.push_back(id);
        batch.positions.push_back(static_cast<std::int32_t>(sequence.past++));
      }
    }
    batch.logit_rows.resize(batch.ids.size());
    std::iota(batch.logit_rows.begin(), batch.logit_rows.end(), 0);
    std::vector<float> logits(batch.ids.size() * static_cast<std::size_t>(loaded_.spec().vocab));
    loaded_.model.forward(batch, state_, {logits.data(), batch.tokens(), loaded_.spec().vocab},
                          observer);
    return logits;
  }
  std::vector<float> step(Sequence& sequence, std::span<const std::int32_t> ids,
                          Observer* observer = nullptr) {
    const Part part = {&sequence, ids};
    return step(std::span(&part, 1), observer);
  }

 private:
  LoadedModel& loaded_;
  ModelState state_;
  std::vector<std::int32_t> free_;
};

}  // namespace krasis::test
