// The table of quantizers; its first row that runs here is the one that is used.
#pragma once

#include <span>
#include <string_view>

#include "quant/quantizer_rows.h"

namespace krasis::quant {

struct RowQuantizer {
  std::string_view name;
  bool (*runs_here)();
  QuantizeRowFn* quantize_row;
  WidenFn* widen_bf16;
  WidenFn* widen_f16;
};

std::span<const RowQuantizer> row_quantizers();
const RowQuantizer& row_quantizer();

}  // namespace krasis::quant
