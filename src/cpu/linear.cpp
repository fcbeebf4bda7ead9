#include "cpu/linear.h"

#include <algorithm>
#include <array>

namespace krasis::cpu {
namespace {

constexpr std::int64_t kWeightBlockBytes = 128 << 10;  // half of the smallest L2 in use
constexpr std::int64_t kTasksOfWorker = 4;             // so that all end together
constexpr std::int64_t kOutputStep = 8;                // of the tile of a single row

// Linear is the case of one head.
struct Product {
  Rows x;
  const Matrix& weight;
  std::span<const float> bias;
  std::int64_t heads;
  MutableRows out;
};

std::int64_t pieces(std::int64_t count, std::int64_t size) {
  return (count + size - 1) / size;
}

struct Job {
  std::int64_t head, first_row, first_output, outputs;
};

void run(const Machine& machine, const Product& product, const Job& job) {
  const Element element = element_of(product.weight.format);
  const std::int64_t outputs_of_head = product.weight.rows / product.heads;
  const std::int64_t rows = std::min(kProductRows, product.x.rows / product.heads - job.first_row);
  std::array<const float*, kProductRows> x{};
  std::array<float*, kProductRows> out{};
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t row = (job.first_row + r) * product.heads + job.head;
    x[static_cast<std::size_t>(r)] = product.x.row(row);
    out[static_cast<std::size_t>(r)] = product.out.row(row) + job.first_output;
  }
  const auto first = static_cast<std::size_t>(job.head * outputs_of_head + job.first_output);
  const auto row_bytes = static_cast<std::size_t>(product.weight.columns) * bytes_of(element);
  machine.kernels.dot_products(
      {.x = x.data(),
       .rows = rows,
       .element = element,
       .weights = product.weight.data + first * row_bytes,
       .weight_stride = product.weight.columns,
       .outputs = job.outputs,
       .columns = product.weight.columns,
       .bias = product.bias.empty() ? nullptr : product.bias.data() + first,
       .out = out.data()});
}

void run(const Machine& machine, const Product& product) {
  const Element element = element_of(product.weight.format);
  const std::int64_t outputs = product.weight.rows / product.heads;
  const std::int64_t rows = product.x.rows / product.heads;
  const std::int64_t row_blocks = pieces(rows, kProductRows);
  const std::int64_t step =
      product_outputs(element, outputs, row_blocks * product.heads, machine.pool.size());
  const std::int64_t output_blocks = pieces(outputs, step);
  const double task_ns =
      product_ns(element, std::min(rows, kProductRows), step, product.weight.columns);
  for_tasks(machine.pool, product.heads * output_blocks * row_blocks, task_ns,
            [&](int /*worker*/, std::int64_t task) {
              const std::int64_t block = task / row_blocks;
              const std::int64_t first_output = block % output_blocks * step;
              run(machine, product,
                  {.head = block / output_blocks,
                   .first_row = task % row_blocks * kProductRows,
                   .first_output = first_output,
                   .outputs = std::min(step, outputs - first_output)});
            });
}

}  // namespace

Element element_of(Matrix::Format format) {
  switch (format) {
    case Matrix::Format::F32:
      return Element::F32;
    case Matrix::Format::BF16:
      return Element::BF16;
    case Matrix::Format::F16:
      return Element::F16;
    case Matrix::Format::Tiles:
      break;
  }
  throw Error(ErrorCode::Internal, "cpu: tiles have no plain elements");
}

std::size_t bytes_of(Element element) {
  switch (element) {
    case Element::F32:
      return 4;
    case Element::E4M3:
      return 1;
    default:
      return 2;
  }
}

std::int64_t product_outputs(Element element, std::int64_t outputs, std::int64_t parts,
                             int workers) {
  const std::int64_t largest =
      kWeightBlockBytes / (kDotBlock * static_cast<std::int64_t>(bytes_of(element)));
  const std::int64_t share = outputs * parts / (kTasksOfWorker * std::max(workers, 1));
  return std::clamp(share / kOutputStep * kOutputStep, kOutputStep, largest);
}

double product_ns(Element element, std::int64_t rows, std::int64_t outputs, std::int64_t columns) {
  constexpr double kBytesPerNs = 10;     // of one core from memory
  constexpr double kProductsPerNs = 20;  // of one core
  const double numbers = static_cast<double>(outputs) * static_cast<double>(columns);
  return numbers * std::max(static_cast<double>(bytes_of(element)) / kBytesPerNs,
                            static_cast<double>(rows) / kProductsPerNs);
}

void linear(const Machine& machine, const Linear& op) {
  run(machine, Product{op.x, op.weight, op.bias, 1, op.out});
}

void head_linear(const Machine& machine, const HeadLinear& op) {
  run(machine, Product{op.x, op.weight, {}, op.heads, op.out});
}

}  // namespace krasis::cpu
