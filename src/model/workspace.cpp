#include "model/workspace.h"

#include <algorithm>

#include "base/error.h"

namespace krasis {
namespace {

constexpr std::size_t kRowAlignment = 256;                    // a device's widest transaction
constexpr std::size_t kSmallestBlock = std::size_t{4} << 20;  // a decode step of a large model

}  // namespace

void Workspace::reserve(std::size_t bytes) {
  ensure(used_bytes_ == 0 && block_ == 0, "workspace: it is in use");
  if (bytes <= this->bytes()) return;
  blocks_.clear();
  blocks_.push_back(memory_.allocate(bytes));
}

std::size_t Workspace::bytes() const {
  std::size_t whole = 0;
  for (const Buffer& block : blocks_) whole += block.bytes();
  return whole;
}

MutableRows Workspace::rows(std::int64_t count, std::int64_t cols) {
  const auto elements = static_cast<std::size_t>(count) * static_cast<std::size_t>(cols);
  return {reinterpret_cast<float*>(take(elements * sizeof(float))), count, cols};
}

std::span<std::int32_t> Workspace::integers(std::int64_t count) {
  const auto elements = static_cast<std::size_t>(count);
  return {reinterpret_cast<std::int32_t*>(take(elements * sizeof(std::int32_t))), elements};
}

std::byte* Workspace::take(std::size_t bytes) {
  bytes = (bytes + kRowAlignment - 1) / kRowAlignment * kRowAlignment;
  // What does not fit the rest of a block goes into the next one that is large enough; a new block
  // doubles the whole, so that there are never many.
  while (block_ < blocks_.size() && bytes > blocks_[block_].bytes() - used_bytes_) {
    ++block_;
    used_bytes_ = 0;
  }
  if (block_ == blocks_.size()) {
    blocks_.push_back(memory_.allocate(std::max(kSmallestBlock + this->bytes(), bytes)));
  }
  std::byte* const start = blocks_[block_].data() + used_bytes_;
  used_bytes_ += bytes;
  return start;
}

Workspace::Scope::Scope(Workspace& workspace)
    : workspace_(workspace), block_(workspace.block_), used_bytes_(workspace.used_bytes_) {}

Workspace::Scope::~Scope() {
  workspace_.block_ = block_;
  workspace_.used_bytes_ = used_bytes_;
}

}  // namespace krasis
