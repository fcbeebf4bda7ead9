// Helpers of the tests of ops/check_*.cpp.
#pragma once

#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "base/error.h"
#include "ops/ops.h"

namespace krasis::test {

// What check() says about an operation, and "" if it has nothing against it.
template <class Op>
std::string complaint(const Op& op) {
  try {
    check(op);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::InvalidArgument);
    return error.what();
  }
  return "";
}

// Rows with their own memory.
struct Block {
  Block(std::int64_t rows, std::int64_t cols)
      : values(static_cast<std::size_t>(rows * cols)), view(values.data(), rows, cols) {}
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  std::vector<float> values;
  MutableRows view;
};

inline Matrix plain(const Block& block) {
  return {.format = Matrix::Format::F32,
          .rows = block.view.rows,
          .columns = block.view.cols,
          .data = reinterpret_cast<const std::byte*>(block.values.data()),
          .tiles = std::nullopt};
}

}  // namespace krasis::test
