// What the device that ops run on gives, measured with the ops themselves.
#pragma once

#include "ops/ops.h"

namespace krasis {

// Floating point operations a second of a large product in BF16: [8192, 4096] x [4096, 4096], the
// best of some. Takes 0.3 GB of ops.memory() meanwhile. Throws Error(OutOfMemory).
double measure_product_rate(Ops& ops);

// Bytes a second read and written by a copy of 128 MB. As above.
double measure_copy_rate(Ops& ops);

}  // namespace krasis
