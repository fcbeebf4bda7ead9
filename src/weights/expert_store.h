// The routed experts of a model, ready for ops: as the checkpoint has them, or as tiles in one
// arena.
#pragma once

#include <cstdint>

#include "ops/matrix.h"

namespace krasis {

class ExpertStore {
 public:
  ExpertStore() = default;
  ExpertStore(const ExpertStore&) = delete;
  ExpertStore& operator=(const ExpertStore&) = delete;
  virtual ~ExpertStore() = default;

  // The experts of a layer (its number in ModelSpec::layers, a SparseFfn). Views that live as long
  // as the store.
  virtual ExpertMatrices layer(std::int64_t layer) const = 0;

  virtual std::size_t bytes() const = 0;  // held for the experts; 0 if mapped from the checkpoint
};

}  // namespace krasis
