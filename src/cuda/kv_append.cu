#include "cuda/attention.h"
#include "cuda/row_grid.cuh"

namespace krasis::cuda {
namespace {

// One side of the cache, keys or values.
template <class T>
struct AppendRow {
  Rows from;  // [tokens * kv_heads, dim]
  T* cache;   // [pages, kv_heads, page_tokens, dim]
  int kv_heads, page_tokens;
  StepTables tables;

  __device__ static float converted(float value, float) { return value; }
  __device__ static bf16 converted(float value, bf16) { return to_bf16(value); }

  template <int kWidth>
  __device__ void apply(std::int64_t row, std::int64_t column) const {
    const int token = static_cast<int>(row) / kv_heads;
    const int head = static_cast<int>(row) % kv_heads;
    const int segment = tables.segment_of_row[token];
    if (segment < 0) return;
    const int position = tables.past[segment] + token - tables.first_row[segment];
    const std::int64_t page =
        tables.pages[std::int64_t{segment} * tables.page_stride + position / page_tokens];
    const std::int64_t to = (page * kv_heads + head) * page_tokens + position % page_tokens;
    const auto values = load_pack<kWidth>(from.data + row * from.stride + column);
    Pack<T, kWidth> rounded;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) rounded.v[i] = converted(values.v[i], T{});
    store_pack(cache + to * from.cols + column, rounded);
  }
};

template <class T>
void append(const Rows& from, std::byte* cache, const PagedKv& kv, const Launch& launch) {
  constexpr int kWide = 4;
  const BasicRows<T> to(reinterpret_cast<T*>(cache), kv.page_tokens, from.cols);
  const AppendRow<T> each{from, to.data, static_cast<int>(kv.kv_heads),
                          static_cast<int>(kv.page_tokens), launch.tables};
  if (packs_fit(from, kWide) && packs_fit(to, kWide)) {
    launch_packs<kWide>(each, from.rows, from.cols, launch.stream);
  } else {
    launch_packs<1>(each, from.rows, from.cols, launch.stream);
  }
  check_launch("kv_append");
}

}  // namespace

void kv_append(const KvAppend& op, const Launch& launch) {
  const auto append_side = op.kv.dtype == DType::F32 ? append<float> : append<bf16>;
  append_side(op.keys, op.kv.keys, op.kv, launch);
  if (op.kv.values != nullptr) append_side(op.values, op.kv.values, op.kv, launch);
}

}  // namespace krasis::cuda
