#include "model/one_expert.h"

namespace krasis {
namespace {

class DenseFfnLayer final : public LayerPart {
 public:
  DenseFfnLayer(std::int64_t layer, Loader& loader)
      : expert_({Role::Gate, Role::Up, Role::Down}, layer, loader.formats().dense_mlp, loader) {}

  void run(const Step& step, Rows x, MutableRows out) const override { expert_.run(step, x, out); }

 private:
  OneExpert expert_;
};

}  // namespace

std::unique_ptr<LayerPart> load_dense_ffn(const DenseFfn& /*spec*/, std::int64_t layer,
                                          Loader& loader) {
  return std::make_unique<DenseFfnLayer>(layer, loader);
}

}  // namespace krasis
