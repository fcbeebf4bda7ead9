// A feed-forward network that every token passes through: to the ops, a layer of one expert.
#pragma once

#include <array>

#include "model/layer.h"

namespace krasis {

class OneExpert {
 public:
  struct Weights {
    TensorView gate, up;  // [intermediate, hidden]
    TensorView down;      // [hidden, intermediate]
  };
  // Unless the format is Int8, run() reads the weights themselves where the ops can. `layer` is for
  // messages.
  OneExpert(const Weights& weights, std::int64_t layer, DenseFormat format, Loader& loader);
  OneExpert(const OneExpert&) = delete;  // matrices_ points into plain_
  OneExpert& operator=(const OneExpert&) = delete;

  // `weights`, [tokens] or more, multiply the rows of the result.
  void run(const Step& step, const ProductRows& x, std::span<const float> weights,
           MutableRows out) const;
  RowForm input_form(const Ops& ops, std::int64_t rows) const {
    return ops.form_for(matrices_, rows, 1);
  }

 private:
  void keep(const Weights& weights, Loader& loader);
  void quantize(const Weights& weights, Loader& loader);

  std::array<DenseMatrix, 3> plain_;  // gate, up, down; or unused
  Buffer tiles_;                      // or empty
  ExpertMatrices matrices_;           // points into the two
};

}  // namespace krasis
