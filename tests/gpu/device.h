// The device that the tests of this folder run on: the first one. A test program skips all its
// tests with one line where there is none, and fails where there is one that cannot be used.
#pragma once

#include <gtest/gtest.h>
#include <memory>

#include "cuda/devices.h"

namespace krasis::test {

// Operations on the device, the same for all tests.
Ops& device_ops();

// Others, for tests that need their own.
std::unique_ptr<Ops> make_device_ops(const cuda::DeviceOptions& options = {});

}  // namespace krasis::test
