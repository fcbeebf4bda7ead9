// The experts' networks (ops/experts.h) and dense MLPs, which are one expert with all tokens.
//
// With tiles, x and silu(gate) * up are rounded to BF16 - not to 8 bits, as processors without
// tensor cores do - and so are, above kVectorTokens tokens, scale * q and an expert's result before
// the sum over top_k. Sums are F32. Against exact arithmetic on the same weights the relative error
// of the whole result is about 3e-3. Plain matrices are widened, x stays F32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/launch.h"
#include "ops/elementwise.h"
#include "ops/experts.h"

namespace krasis::cuda {

constexpr std::int64_t kVectorTokens = 8;

// op.matrices.gate, up and down are host arrays of matrices whose data lies on the device; ids,
// weights, x, out and tiles lie on the device. Tokens are worked through in as many parts as
// launch.scratch makes necessary. Throws Error(OutOfMemory) if it has no room for a few tokens.
void experts(const Experts& op, const Launch& launch);

// Where experts_add(): sum.out = sum.x + (what experts() gives + sum.z) in one; op.out, which is
// sum.y, is not written.
void experts_and_add(const Experts& op, const Add& sum, const Launch& launch);
bool experts_add(const ExpertMatrices& matrices, std::int64_t rows, std::int64_t top_k);

// The same for tiles that do not lie next to each other: expert e's starts at table[e], an array
// [experts] in device memory that is read when the op runs; the tiles' base is not used. With
// `sum` as experts_and_add().
void experts_at(const std::byte* const* table, const Experts& op, const Launch& launch,
                const Add* sum = nullptr);

// The least form of `rows` rows that experts() and experts_at() read.
RowForm experts_form(const ExpertMatrices& matrices, std::int64_t rows, std::int64_t top_k);

// Scratch with which `tokens` tokens are one part, or several that are as large as is of use.
std::size_t experts_scratch_bytes(const ExpertMatrices& matrices, std::int64_t tokens,
                                  std::int64_t top_k);

}  // namespace krasis::cuda
