// Parts of the causal convolution, for who does the rest itself (delta_net.cu).
#pragma once

#include "cuda/launch.h"
#include "ops/delta_net.h"

namespace krasis::cuda {

// Whether channels are taken four at a time: 4 taps, all rows aligned to 16 bytes.
bool convolves_in_fours(const CausalConv& op);

// out of `count` channels from `first` on. What the slots hold of them may be as before or as
// after.
void convolve_channels(const CausalConv& op, std::int64_t first, std::int64_t count,
                       const Launch& launch);

// What the slots hold after segments of at least width - 1 rows, all channels.
void store_conv_inputs(const CausalConv& op, const Launch& launch);

}  // namespace krasis::cuda
