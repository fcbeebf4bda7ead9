// The CPU's operations for every row of the table of vector kernels that this processor can run,
// with one thread and with three.
#include "base/thread_pool.h"
#include "conformance/support.h"
#include "cpu/cpu_ops.h"
#include "cpu/features.h"
#include "cpu/tile_table.h"
#include "cpu/vector_kernels.h"

namespace krasis::test {

void for_each_backend(const std::function<void(Ops&)>& test) {
  for (const cpu::VectorRow& row : cpu::vector_table()) {
    if (!row.runs_on(cpu::features())) continue;
    for (const int threads : {1, 3}) {
      ThreadPool pool({.threads = threads, .pin = false});
      const auto ops = cpu::make_cpu_ops(pool, *row.kernels, cpu::best_tile_kernels());
      SCOPED_TRACE(ops->name());
      test(*ops);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

double rounded(double limit) {
  return limit;
}

double unquantized(double limit) {
  return limit;
}

}  // namespace krasis::test
