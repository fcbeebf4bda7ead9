// A feed-forward network that every token passes through: to the ops, a layer of one expert.
#pragma once

#include <array>

#include "model/layer.h"

namespace krasis {

class OneExpert {
 public:
  // Three matrices [intermediate, hidden], [intermediate, hidden], [hidden, intermediate].
  struct Roles {
    Role gate, up, down;
  };
  OneExpert(const Roles& roles, std::int64_t layer, DenseFormat format, Loader& loader);
  OneExpert(const OneExpert&) = delete;  // matrices_ points into plain_
  OneExpert& operator=(const OneExpert&) = delete;

  void run(const Step& step, Rows x, MutableRows out) const;

 private:
  void keep(const TensorView& gate, const TensorView& up, const TensorView& down);
  void quantize(const TensorView& gate, const TensorView& up, const TensorView& down);

  std::array<Matrix, 3> plain_;  // gate, up, down; or unused
  HostBuffer tiles_;             // or empty
  ExpertMatrices matrices_;      // points into the two
};

}  // namespace krasis
