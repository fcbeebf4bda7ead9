// The operations on tiled matrices, on the processor: ops/linear.h with Matrix::Format::Tiles and
// ops/experts.h with ExpertMatrices::tiled. A token's result depends neither on the other tokens of
// the call, nor on the number of threads, nor on the kernels' table row. A row of x that holds a
// NaN or an infinity gives a row of NaN.
//
// Memory for intermediate results grows to what the largest call needs (at most about
// kMaxIntermediateBytes and what one token needs) and is kept: no allocation in steady state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "cpu/tile_split.h"
#include "cpu/tile_table.h"
#include "ops/experts.h"
#include "ops/linear.h"
#include "tensor/host_buffer.h"

namespace krasis::cpu {

constexpr std::size_t kMaxIntermediateBytes = std::size_t{256} << 20;

// Memory that only grows; its contents are lost when it does.
template <class T>
class GrowingArray {
 public:
  T* reserve(std::int64_t count) {
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
    if (bytes > buffer_.bytes()) buffer_ = HostBuffer(bytes + bytes / 4);
    return data();
  }
  T* data() const { return buffer_.as<T>(); }

 private:
  HostBuffer buffer_;
};

// Rows quantized for a matrix of some type.
struct QuantizedRows {
  GrowingArray<std::int8_t> q;
  GrowingArray<float> scales;
  GrowingArray<std::int32_t> offsets;

  void reserve(std::int64_t rows, const TileShape& shape);
};

class TileRunner {
 public:
  explicit TileRunner(ThreadPool& pool, const TileKernels& kernels = best_tile_kernels());

  // Throw Error(InvalidArgument) if the matrices are not tiled or shapes do not fit.
  void linear(const Linear& op);
  void head_linear(const HeadLinear& op);
  void experts(const Experts& op);

 private:
  struct ExpertStep;

  void linear_chunk(const Linear& op, std::int64_t first, std::int64_t count);
  void head_chunk(const HeadLinear& op, std::int64_t first, std::int64_t count);
  void expert_chunk(const Experts& op, std::int64_t first, std::int64_t count);
  void sort_by_expert(const Experts& op, std::int64_t first, std::int64_t count);
  void hidden_products(const ExpertStep& step, int worker);
  void output_products(const ExpertStep& step, int worker);
  void sum_outputs(const ExpertStep& step, int worker) const;
  void quantize_row(const float* x, std::int64_t columns, const TileShape& shape,
                    QuantizedRows& rows, std::int64_t row) const;
  void quantize_share(Rows x, const TileShape& shape, QuantizedRows& rows, int worker) const;
  TileProduct product_of(const TileMatrix& matrix, std::int64_t first_strip,
                         std::int64_t last_strip, const QuantizedRows& x, int worker) const;
  const std::int32_t* identity(std::int64_t count);

  ThreadPool& pool_;
  const TileKernels& kernels_;
  GrowingArray<std::uint8_t> kernel_scratch_;  // [workers][kTileScratchBytes]
  std::vector<std::int32_t> identity_;         // 0, 1, 2, ...
  QuantizedRows x_;
  TileSplit split_, second_split_;
  std::vector<StripSegment> segments_, second_segments_;

  // Of experts(): rows are the (token, j) pairs that have an expert, sorted by it.
  struct Active {
    std::int64_t expert, first_row, rows;
  };
  std::vector<Active> active_;
  std::vector<std::int64_t> row_ends_;  // [experts]
  std::vector<std::int32_t> tokens_;    // [rows] of the chunk
  std::vector<std::int32_t> places_;    // [rows] the pair's number by token and j
  std::vector<float> weights_;          // [rows] by place
  std::vector<std::int64_t> firsts_;    // [tokens + 1] the first place of each token
  GrowingArray<float> products_;        // [rows, round_up(intermediate, 32)]
  GrowingArray<float> outputs_;         // [rows, hidden] by place
  QuantizedRows quantized_products_;    // [rows], or with few rows [workers][rows]
};

}  // namespace krasis::cpu
