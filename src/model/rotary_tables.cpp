#include "model/rotary_tables.h"

namespace krasis {

std::size_t RotaryTables::add(const RotarySpec& rotary, Memory& memory) {
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    if (specs_[i].frequencies == rotary.frequencies && specs_[i].scale == rotary.scale) return i;
  }
  const std::size_t bytes = rotary.frequencies.size() * sizeof(float);
  Buffer& frequencies = frequencies_.emplace_back(memory.allocate(bytes));
  memory.upload(frequencies.data(), rotary.frequencies.data(), bytes);
  specs_.push_back(rotary);
  rows_.emplace_back();
  return specs_.size() - 1;
}

void RotaryTables::compute(std::span<const std::int32_t> positions, Ops& ops,
                           Workspace& workspace) {
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    const auto tokens = static_cast<std::int64_t>(positions.size());
    const MutableRows cosine = workspace.rows(tokens, specs_[i].dim() / 2);
    const MutableRows sine = workspace.rows(tokens, specs_[i].dim() / 2);
    ops.rotary_table({.positions = positions,
                      .frequencies = {frequencies_[i].as<float>(), specs_[i].frequencies.size()},
                      .scale = specs_[i].scale,
                      .cosine = cosine,
                      .sine = sine});
    rows_[i] = {cosine, sine};
  }
}

}  // namespace krasis
