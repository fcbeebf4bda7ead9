// Memory for intermediate results. Grows when it must and keeps what it has, so that steps of a
// size seen before allocate nothing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/memory.h"
#include "tensor/tensor.h"

namespace krasis {

class Workspace {
 public:
  explicit Workspace(Memory& memory) : memory_(memory) {}

  // Allocates at once what steps will need together, so that it is one piece and none too much.
  // Before anything is taken.
  void reserve(std::size_t bytes);
  std::size_t bytes() const;  // allocated

  // Contiguous, aligned to 256 bytes, not cleared; valid until the innermost Scope ends.
  MutableRows rows(std::int64_t count, std::int64_t cols);
  std::span<std::int32_t> integers(std::int64_t count);

  // Everything taken from the workspace during a Scope's life is given back at its end.
  class Scope {
   public:
    explicit Scope(Workspace& workspace);
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope();

   private:
    Workspace& workspace_;
    std::size_t block_, used_bytes_;
  };

 private:
  std::byte* take(std::size_t bytes);

  Memory& memory_;
  std::vector<Buffer> blocks_;
  std::size_t block_ = 0;       // the one being filled
  std::size_t used_bytes_ = 0;  // of it
};

}  // namespace krasis
