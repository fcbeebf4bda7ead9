#include "cpu/top_logits.h"

#include <limits>
#include <vector>

namespace krasis::cpu {
namespace {

constexpr std::int64_t kPart = 8192;  // columns of a task
constexpr double kLookNs = 0.5;

struct High {
  float height = -std::numeric_limits<float>::infinity();  // NaN and +infinity: +infinity
  std::int32_t column = 0;
};

// The highest so far, highest first. Offered in the order of their columns.
class Highest {
 public:
  void offer(std::span<High> places, const High& one) {
    if (count_ == places.size() && !(one.height > places[count_ - 1].height)) return;
    std::size_t place = count_ < places.size() ? count_++ : count_ - 1;
    for (; place > 0 && one.height > places[place - 1].height; --place)
      places[place] = places[place - 1];
    places[place] = one;
  }
  std::size_t count() const { return count_; }

 private:
  std::size_t count_ = 0;
};

float height_of(float logit) {
  return logit <= std::numeric_limits<float>::max() ? logit
                                                    : std::numeric_limits<float>::infinity();
}

}  // namespace

void top_logits(const Machine& machine, const TopLogits& op) {
  const auto count = static_cast<std::size_t>(op.count);
  const std::int64_t parts = (op.logits.cols + kPart - 1) / kPart;
  std::vector<High> places(static_cast<std::size_t>(op.logits.rows * parts) * count);
  std::vector<std::size_t> found(static_cast<std::size_t>(op.logits.rows * parts));
  const auto places_of = [&](std::int64_t task) {
    return std::span(places).subspan(static_cast<std::size_t>(task) * count, count);
  };
  for_tasks(machine.pool, op.logits.rows * parts, kLookNs * static_cast<double>(kPart),
            [&](int /*worker*/, std::int64_t task) {
              const float* const row = op.logits.row(task / parts);
              const std::int64_t first = task % parts * kPart;
              const std::int64_t last = std::min(first + kPart, op.logits.cols);
              Highest highest;
              for (std::int64_t c = first; c < last; ++c)
                highest.offer(places_of(task), {height_of(row[c]), static_cast<std::int32_t>(c)});
              found[static_cast<std::size_t>(task)] = highest.count();
            });
  for (std::int64_t r = 0; r < op.logits.rows; ++r) {
    Highest highest;
    std::vector<High> best(count);
    for (std::int64_t task = r * parts; task < (r + 1) * parts; ++task) {
      for (const High& one : places_of(task).first(found[static_cast<std::size_t>(task)]))
        highest.offer(best, one);
    }
    for (std::size_t j = 0; j < count; ++j) {
      const std::size_t at = static_cast<std::size_t>(r) * count + j;
      op.ids[at] = best[j].column;
      op.values[at] = op.logits.row(r)[best[j].column];
    }
  }
}

}  // namespace krasis::cpu
