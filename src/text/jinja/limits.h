// What one parse or render may use. Templates come with downloaded models, and the server renders
// them with a client's messages: both are untrusted.
#pragma once

#include <cstddef>
#include <cstdint>

namespace krasis::jinja {

struct Limits {
  // Evaluated nodes, loop iterations and elements touched by filters. Templates that look ahead in
  // a nested loop need about ten steps for each pair of messages.
  std::uint64_t steps = 20'000'000;
  std::size_t created_bytes = std::size_t{1} << 30;  // all strings and containers ever made
  std::size_t output_bytes = std::size_t{1} << 26;   // of the text rendered
  int depth = 1200;  // nested evaluations; a macro call is about five
};

// Nested brackets and blocks in a template's source, and the height of an expression.
constexpr int kMaxSourceNesting = 200;
constexpr int kMaxExpressionHeight = 500;
// Nested arrays and objects in the messages.
constexpr int kMaxJsonDepth = 500;
constexpr std::int64_t kMaxRange = 100'000;  // the same bound as the reference's sandbox

}  // namespace krasis::jinja
