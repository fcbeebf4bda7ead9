// ops/elementwise.h and ops/rotary.h on the processor.
#pragma once

#include "cpu/machine.h"
#include "ops/elementwise.h"
#include "ops/rotary.h"

namespace krasis::cpu {

void embedding(const Machine& machine, const Embedding& op);
void rms_norm(const Machine& machine, const RmsNorm& op);
void gated_rms_norm(const Machine& machine, const GatedRmsNorm& op);
void add_norm(const Machine& machine, const AddNorm& op);
void add(const Machine& machine, const Add& op);
void copy(const Machine& machine, const Copy& op);
void sigmoid_multiply(const Machine& machine, const SigmoidMultiply& op);
void rotary_table(const Machine& machine, const RotaryTable& op);
void rotary(const Machine& machine, const Rotary& op);

}  // namespace krasis::cpu
