// Element types of tensors, with the names safetensors files use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace krasis {

enum class DType : std::uint8_t { F32, BF16, F16, F8E4M3, I64, I32, I16, I8, U8, Bool };

std::size_t size_of(DType dtype);          // bytes of one element
std::string_view name_of(DType dtype);     // "F32", "BF16", "F8_E4M3", ...
DType dtype_named(std::string_view name);  // throws Error(Unsupported)

}  // namespace krasis
