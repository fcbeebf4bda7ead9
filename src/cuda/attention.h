// The paged key-value cache: writing to it, and attention over it (ops/attention.h). Segments and
// pages are read from the step's tables in device memory, not from the ops' spans: a captured step
// stays right while its sequences grow within the bounds that the tables give.
#pragma once

#include "cuda/launch.h"
#include "ops/attention.h"

namespace krasis::cuda {

// BF16 and E4M3 round to nearest even, NaN stays NaN, as on the host: the bytes are the same.
void kv_append(const KvAppend& op, const Launch& launch);

// With a BF16 cache, key dimensions 64, 128, 256 (values alike) and 576 with latent values of 512
// go through tensor cores: queries, times the scale, and weights are rounded to BF16, sums are F32.
// So they do with a cache of E4M3, whose numbers BF16 holds exactly. Few rows read it as it is; the
// keys and values of a segment of many rows are first widened in scratch memory, as far as that
// holds them, for which op.segments is read on the host.
// Everything else, and a cache of F32, is computed in F32 by a kernel that is general and slow.
// Takes attention_plan.h's bytes of scratch memory.
void attention(const Attention& op, const Launch& launch);

}  // namespace krasis::cuda
