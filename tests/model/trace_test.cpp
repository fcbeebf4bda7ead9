#include "model/trace.h"

#include <gtest/gtest.h>

#include "model/loaded_model.h"
#include "support/temporary_folder.h"

namespace krasis {
namespace {

using test::LoadedModel;

class TraceFile : public testing::Test {
 protected:
  void SetUp() override {
    KRASIS_NEEDS_REFERENCE();
    backend_ = std::make_unique<test::Backend>("cpu");
    loaded_ =
        std::make_unique<LoadedModel>(test::reference_model_dir("glm4-moe-tiny"), backend_->ops());
  }
  std::string refusal(const std::vector<std::int32_t>& ids) {
    try {
      trace_prompt(loaded_->model, ids);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  std::unique_ptr<test::Backend> backend_;
  std::unique_ptr<LoadedModel> loaded_;
};

TEST_F(TraceFile, HoldsEveryTensorUnderTheNamesOfTheGoldenFiles) {
  const std::vector<std::int32_t> ids = {5, 7, 11};
  const Trace trace = trace_prompt(loaded_->model, ids);
  const test::TemporaryFolder folder;
  write_trace(trace, folder / "trace.safetensors");
  const SafetensorsFile file(folder / "trace.safetensors");
  std::map<std::string, Shape> shapes;
  for (const SafetensorsEntry& entry : file.header().entries) {
    shapes.emplace(entry.name, entry.shape);
    EXPECT_EQ(entry.dtype_name, entry.name == "input_ids" ? "I32" : "F32");
  }
  const std::map<std::string, Shape> expected = {{"hidden.0", {3, 256}},
                                                 {"hidden.1", {3, 256}},
                                                 {"input_ids", {3}},
                                                 {"logits", {3, 512}},
                                                 {"router_logits.1", {3, 7}}};
  EXPECT_EQ(shapes, expected);
}

TEST_F(TraceFile, IsNotMadeOfIdsThatTheModelLacks) {
  EXPECT_EQ(refusal({}), "trace: there are no token ids");
  EXPECT_EQ(refusal({1, 512}), "trace: token id 512 is not in [0, 512)");
  EXPECT_EQ(refusal({-1}), "trace: token id -1 is not in [0, 512)");
  EXPECT_EQ(refusal(std::vector<std::int32_t>(202753, 1)),
            "trace: 202753 token ids are more than the model's context of 202752");
}

}  // namespace
}  // namespace krasis
