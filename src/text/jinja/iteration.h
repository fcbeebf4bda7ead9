// for x in value.
#pragma once

#include <vector>

#include "text/jinja/object.h"
#include "text/jinja/runtime.h"

namespace krasis::jinja {

bool is_iterable(const Value& value);
// An iterator over a string's characters, a list, a dict's keys, ...; fails for other values.
Iterator& iterate(Runtime& runtime, const Value& value);
std::vector<Value> collect(Runtime& runtime, const Value& value);
// A generator that yields `items`.
Value generator(Runtime& runtime, std::vector<Value> items);

}  // namespace krasis::jinja
