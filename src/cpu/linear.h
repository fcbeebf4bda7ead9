// ops/linear.h on the processor, for matrices that are not tiles.
#pragma once

#include <cstddef>

#include "cpu/machine.h"
#include "ops/linear.h"

namespace krasis::cpu {

Element element_of(Matrix::Format format);  // not of Tiles
std::size_t bytes_of(Element element);

void linear(const Machine& machine, const Linear& op);
void head_linear(const Machine& machine, const HeadLinear& op);

// Rows that one job of products takes, and outputs: their weights stay in the L2 while all rows
// pass.
constexpr std::int64_t kProductRows = 64;
std::int64_t product_outputs(Element element, std::int64_t outputs, std::int64_t parts,
                             int workers);
// About how long products of `rows` x [outputs, columns] take.
double product_ns(Element element, std::int64_t rows, std::int64_t outputs, std::int64_t columns);

}  // namespace krasis::cpu
