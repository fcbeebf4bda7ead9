// The few instructions below CUDA C++ that products on tensor cores are made of (sm_80 and above).
// PTX ISA: cp.async, ldmatrix, movmatrix, mma.
#pragma once

#include <cstdint>
#include <cuda_bf16.h>

namespace krasis::cuda {

constexpr int kWarp = 32;

__device__ inline unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// Read once, in this place: the compiler neither delays it nor keeps it in the L1 cache.
__device__ inline uint4 load_stream(const void* from) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}

// 16 bytes from global to shared memory, both aligned to 16, past the L1 cache.
__device__ inline void copy_async(unsigned to, const void* from) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;\n" ::"r"(to), "l"(from));
}
// The same, or zeros if there is nothing to copy.
__device__ inline void copy_async_or_zero(unsigned to, const void* from, bool exists) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from),
               "r"(exists ? 16 : 0));
}
// The same by way of the L1 cache: for what several blocks of a multiprocessor read.
__device__ inline void copy_async_cached_or_zero(unsigned to, const void* from, bool exists) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from),
               "r"(exists ? 16 : 0));
}
__device__ inline void copy_async_commit() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}
// Waits until at most `Pending` of the newest groups are under way.
template <int Pending>
__device__ inline void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(Pending) : "memory");
}

// What this thread has written to shared memory can be read by a warp group's instructions (sm_90).
__device__ inline void fence_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}

__device__ inline uint4 load_shared16(unsigned address) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(address));
  return v;
}

// Four 8x8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8 and
// receives elements (l / 4, 2 (l % 4)) and the next of each.
__device__ inline void load_matrices(unsigned address, unsigned (&r)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}

// An 8x8 matrix of 16-bit elements in the layout of load_matrices, transposed.
__device__ inline unsigned transpose8x8(unsigned value) {
  unsigned out;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;\n" : "=r"(out) : "r"(value));
  return out;
}

// c[16, 8] += a[16, 16] b[16, 8] in BF16 with F32 sums. With g = lane / 4, j = lane % 4:
// a: (g, 2j..), (g + 8, 2j..), (g, 2j + 8..), (g + 8, 2j + 8..); b: (2j.., g), (2j + 8.., g);
// c: (g, 2j), (g, 2j + 1), (g + 8, 2j), (g + 8, 2j + 1).
__device__ inline void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0,
                                    unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Two F32 rounded to BF16, `low` in the low half.
__device__ inline unsigned pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const unsigned*>(&pair);
}

__device__ inline float2 unpack_bf16(unsigned pair) {
  return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xFFFF0000u)};
}

// Each group of four lanes: lane j's r[i] becomes lane i's r[j].
__device__ inline void exchange_quad(unsigned (&r)[4]) {
  const unsigned lane = threadIdx.x % kWarp;
#pragma unroll
  for (int step = 1; step < 4; step *= 2) {
    const bool upper = (lane & step) != 0;
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
      const int low = step == 1 ? 2 * pair : pair;
      const int high = low + step;
      const unsigned other = __shfl_xor_sync(0xFFFFFFFFu, upper ? r[low] : r[high], step);
      r[low] = upper ? other : r[low];
      r[high] = upper ? r[high] : other;
    }
  }
}

__device__ inline float silu(float z) {
  return __fdividef(z, 1.0f + __expf(-z));
}

}  // namespace krasis::cuda
