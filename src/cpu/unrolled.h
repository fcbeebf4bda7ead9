// Loops over small arrays of vectors, unrolled where the compiler first sees them: gcc 12 unrolls
// ordinary ones too late to keep the arrays in registers. May be included in files built for one
// instruction set: the function is instantiated with their own lambdas only and always inlined.
#pragma once

namespace krasis::cpu {

template <int kValue>
struct Index {
  constexpr operator int() const { return kValue; }  // NOLINT(google-explicit-constructor)
};

// body(Index<0>{}), ..., body(Index<kCount - 1>{})
template <int kCount, int kFirst = 0, class Body>
[[gnu::always_inline]] inline void unrolled(const Body& body) {
  if constexpr (kFirst < kCount) {
    body(Index<kFirst>{});
    unrolled<kCount, kFirst + 1>(body);
  }
}

}  // namespace krasis::cpu
