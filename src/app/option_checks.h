// What options may be, each refused in one sentence that quotes the value.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>

namespace krasis {

// A whole number.
CLI::Validator at_least(std::int64_t least);

// Any number.
CLI::Validator number_of(double least, double most);

// For transform(): bytes, or with a unit (k, KB, KiB, ... E, all of 1024), as bytes.
CLI::Validator size_of_at_least(std::uint64_t least_bytes);

// Words that are there.
CLI::Validator not_empty();

}  // namespace krasis
