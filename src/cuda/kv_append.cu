#include "base/float8.h"
#include "cuda/attention.h"
#include "cuda/row_grid.cuh"

namespace krasis::cuda {
namespace {

// Keys or values, on their way into the cache.
template <class T>
struct Side {
  const float* from = nullptr;  // [tokens * kv_heads, dim], rows `stride` apart
  std::int64_t stride = 0;
  T* to = nullptr;  // [pages, kv_heads, page_tokens, dim]
};

// Both sides of one dimension, values after keys: rows [0, rows_of_side) and the next as many.
template <class T>
struct AppendRow {
  Side<T> sides[2];
  int rows_of_side;
  std::int64_t dim;
  int kv_heads, page_tokens;
  StepTables tables;

  __device__ static float converted(float value, float) { return value; }
  __device__ static bf16 converted(float value, bf16) { return to_bf16(value); }
  __device__ static e4m3 converted(float value, e4m3) { return to_e4m3(value); }

  template <int kWidth>
  __device__ void apply(std::int64_t any_row, std::int64_t column) const {
    const bool second = any_row >= rows_of_side;
    const Side<T>& side = sides[second];
    const int row = static_cast<int>(any_row) - (second ? rows_of_side : 0);
    const int token = row / kv_heads;
    const int head = row % kv_heads;
    const int segment = tables.segment_of_row[token];
    if (segment < 0) return;
    const int position = tables.past[segment] + token - tables.first_row[segment];
    const std::int64_t page =
        tables.pages[std::int64_t{segment} * tables.page_stride + position / page_tokens];
    const std::int64_t to = (page * kv_heads + head) * page_tokens + position % page_tokens;
    const auto values = load_pack<kWidth>(side.from + row * side.stride + column);
    Pack<T, kWidth> rounded;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) rounded.v[i] = converted(values.v[i], T{});
    store_pack(side.to + to * dim + column, rounded);
  }
};

template <class T>
void append(const KvAppend& op, const Launch& launch) {
  constexpr int kWide = 4;
  const PagedKv& kv = op.kv;
  const auto fits = [](const Rows& from, const std::byte* cache) {
    return packs_fit(from, kWide) &&
           packs_fit(BasicRows<const T>(reinterpret_cast<const T*>(cache), 1, from.cols), kWide);
  };
  const auto side_of = [](const Rows& from, std::byte* cache) {
    return Side<T>{from.data, from.stride, reinterpret_cast<T*>(cache)};
  };
  const auto run = [&](const Side<T>& first, const Side<T>& second, std::int64_t dim, bool wide) {
    const AppendRow<T> each{{first, second},
                            static_cast<int>(op.keys.rows),
                            dim,
                            static_cast<int>(kv.kv_heads),
                            static_cast<int>(kv.page_tokens),
                            launch.tables};
    const std::int64_t rows = op.keys.rows * (second.to == nullptr ? 1 : 2);
    if (wide) {
      launch_packs<kWide>(each, rows, dim, launch);
    } else {
      launch_packs<1>(each, rows, dim, launch);
    }
    check_launch("kv_append");
  };
  const Side<T> keys = side_of(op.keys, kv.keys);
  const bool wide_keys = fits(op.keys, kv.keys);
  if (kv.values == nullptr) return run(keys, {}, kv.key_dim, wide_keys);
  const Side<T> values = side_of(op.values, kv.values);
  const bool wide_values = fits(op.values, kv.values);
  if (kv.key_dim == kv.value_dim) return run(keys, values, kv.key_dim, wide_keys && wide_values);
  run(keys, {}, kv.key_dim, wide_keys);
  run(values, {}, kv.value_dim, wide_values);
}

}  // namespace

void kv_append(const KvAppend& op, const Launch& launch) {
  if (op.keys.rows == 0) return;
  const auto append_rows = op.kv.dtype == DType::F32      ? append<float>
                           : op.kv.dtype == DType::F8E4M3 ? append<e4m3>
                                                          : append<bf16>;
  append_rows(op, launch);
}

}  // namespace krasis::cuda
