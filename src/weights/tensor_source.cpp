#include "weights/tensor_source.h"

#include "formats/checkpoint.h"

namespace krasis {
namespace {

class CheckpointSource final : public TensorSource {
 public:
  explicit CheckpointSource(const std::filesystem::path& dir) : checkpoint_(dir) {}

  std::optional<TensorView> find(const std::string& name, const Shape& /*expected*/) override {
    return checkpoint_.find(name);
  }
  std::string description() const override { return checkpoint_.dir().string(); }
  std::string fingerprint() const override { return checkpoint_.fingerprint(); }

 private:
  Checkpoint checkpoint_;
};

}  // namespace

TensorView TensorSource::require(const std::string& name, const Shape& expected) {
  const std::optional<TensorView> tensor = find(name, expected);
  const std::string area = "checkpoint: " + description() + ": ";
  if (!tensor) throw Error(ErrorCode::NotFound, area + "no tensor \"" + name + "\"");
  if (!(tensor->shape() == expected)) {
    throw Error(ErrorCode::Corrupt, area + "\"" + name + "\" is " + tensor->shape().to_string() +
                                        ", but config.json asks for " + expected.to_string());
  }
  return *tensor;
}

std::unique_ptr<TensorSource> open_checkpoint(const std::filesystem::path& model_dir) {
  return std::make_unique<CheckpointSource>(model_dir);
}

}  // namespace krasis
