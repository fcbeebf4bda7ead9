// Embedding, normalisation and what works number by number (ops/elementwise.h).
#pragma once

#include "cuda/launch.h"
#include "ops/elementwise.h"

namespace krasis::cuda {

// The ids cannot be checked without waiting for the device: a row whose id is outside the table
// becomes NaN.
void embedding(const Embedding& op, const Launch& launch);
void rms_norm(const RmsNorm& op, const Launch& launch);
void gated_rms_norm(const GatedRmsNorm& op, const Launch& launch);
void add_norm(const AddNorm& op, const Launch& launch);
void add(const Add& op, const Launch& launch);
void copy(const Copy& op, const Launch& launch);
void sigmoid_multiply(const SigmoidMultiply& op, const Launch& launch);

}  // namespace krasis::cuda
