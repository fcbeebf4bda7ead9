// The gated delta rule and the convolution in front of it (formulae in ops/delta_net.h). All
// segments of launch.tables run in one call; a segment with past == 0 starts from zero state.
#pragma once

#include "cuda/launch.h"
#include "ops/delta_net.h"

namespace krasis::cuda {

// F32 throughout. At the speed of memory for 4 taps and channels in fours, aligned to 16 bytes.
void causal_conv(const CausalConv& op, const Launch& launch);

// F32 throughout.
void delta_gates(const DeltaGates& op, const Launch& launch);

// Three forms:
//   any shape: token by token in F32, the state in its slot;
//   key_dim 128, value_dim in 32s, rows aligned to 16 bytes, segments of up to 8 tokens: token by
//     token in F32, the state in registers;
//   the same shapes, longer segments: chunks of 64 tokens through tensor cores. Products of F16
//     operands, F32 sums, an F32 state; relative error 1e-3 of outputs and state. Expects
//     0 <= beta <= 2 (beyond, the rule itself does not converge).
// Scratch of the last form: about 1 MB a chunk for 16 key heads and 32 value heads, for as many
// chunks as it has room for, at most kWaveChunks (delta_net_chunk.h).
void delta_net(const DeltaNet& op, const Launch& launch);

// Where has_convolved_keys(): causal_conv(conv), then delta_net(op), whose q, k and v are columns
// of conv.out; of these only v is written. For the last form alone, convolution and normalisation
// of keys are one pass.
void conv_and_delta_net(const CausalConv& conv, const DeltaNet& op, const Launch& launch);
bool has_convolved_keys(const CausalConv& conv, const DeltaNet& op);

}  // namespace krasis::cuda
