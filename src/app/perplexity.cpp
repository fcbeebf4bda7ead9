#include "app/perplexity.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

namespace krasis {
namespace {

constexpr std::int64_t kPageTokens = 64;

// One model going through one window after the other.
class WindowRunner {
 public:
  WindowRunner(Model& model, const PerplexityOptions& options, DType kv_type)
      : model_(model),
        step_(options.token_by_token ? 1 : options.chunk),
        pages_(static_cast<std::size_t>((options.window + kPageTokens - 1) / kPageTokens)),
        state_(model.spec(),
               {.pages = static_cast<std::int64_t>(pages_.size()),
                .page_tokens = kPageTokens,
                .slots = 1,
                .kv_type = kv_type},
               model.memory()),
        logits_(static_cast<std::size_t>(step_ * model.spec().vocab)) {
    std::iota(pages_.begin(), pages_.end(), 0);
  }

  // Runs ids [past, past + count) of the window; logits of every row.
  MutableRows run(std::span<const std::int32_t> window, std::int64_t past, std::int64_t count) {
    Batch batch;
    const auto first = window.begin() + past;
    batch.ids.assign(first, first + count);
    batch.positions.resize(static_cast<std::size_t>(count));
    std::iota(batch.positions.begin(), batch.positions.end(), static_cast<std::int32_t>(past));
    batch.logit_rows.resize(static_cast<std::size_t>(count));
    std::iota(batch.logit_rows.begin(), batch.logit_rows.end(), 0);
    batch.segments = {{.first_row = 0, .rows = count, .past = past, .slot = 0, .pages = pages_}};
    const MutableRows rows(logits_.data(), count, model_.spec().vocab);
    model_.forward(batch, state_, rows);
    return rows;
  }

  std::int64_t step() const { return step_; }

 private:
  Model& model_;
  std::int64_t step_;
  std::vector<std::int32_t> pages_;
  ModelState state_;
  std::vector<float> logits_;  // [step, vocab]
};

double log_sum_exp(std::span<const float> logits) {
  const float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit} - double{top});
  return double{top} + std::log(sum);
}

struct Comparison {
  double kl = 0;
  std::int64_t same_top = 0;
};

void compare(std::span<const float> model, std::span<const float> reference, Comparison& sums) {
  const double model_norm = log_sum_exp(model);
  const double reference_norm = log_sum_exp(reference);
  double kl = 0;
  for (std::size_t i = 0; i < model.size(); ++i) {
    const double log_p = double{reference[i]} - reference_norm;
    kl += std::exp(log_p) * (log_p - (double{model[i]} - model_norm));
  }
  sums.kl += kl;
  const auto top = [](std::span<const float> row) {
    return std::max_element(row.begin(), row.end()) - row.begin();
  };
  sums.same_top += top(model) == top(reference) ? 1 : 0;
}

}  // namespace

void check(const PerplexityOptions& options, std::size_t tokens) {
  if (tokens < 2) {
    throw Error(ErrorCode::InvalidArgument,
                "perplexity: the text has " + std::to_string(tokens) +
                    " tokens, at least 2 are needed; give a longer text");
  }
  if (options.window < 2 || options.stride < 1 || options.stride > options.window) {
    throw Error(ErrorCode::InvalidArgument,
                "perplexity: window " + std::to_string(options.window) + " and stride " +
                    std::to_string(options.stride) +
                    " do not fit together; window must be at least 2 and stride from 1 to window");
  }
}

double PerplexityResult::perplexity() const {
  return std::exp(nll / static_cast<double>(tokens));
}

PerplexityResult measure_perplexity(
    Model& model, Model* reference, std::span<const std::int32_t> ids,
    const PerplexityOptions& options,
    const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  check(options, ids.size());
  const auto total = static_cast<std::int64_t>(ids.size());
  const auto vocab = static_cast<std::size_t>(model.spec().vocab);
  WindowRunner runner(model, options, options.kv_type);
  std::optional<WindowRunner> reference_runner;
  if (reference != nullptr) reference_runner.emplace(*reference, options, DType::BF16);

  PerplexityResult result;
  Comparison comparison;
  std::int64_t scored_to = 1;  // ids before this have been scored, or have nothing before them
  for (std::int64_t begin = 0; scored_to < total; begin += options.stride) {
    const std::int64_t length = std::min(options.window, total - begin);
    const auto window =
        ids.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(length));
    for (std::int64_t past = 0; past < length - 1; past += runner.step()) {
      const std::int64_t count = std::min(runner.step(), length - 1 - past);
      progress(static_cast<std::uint64_t>(std::max(scored_to, begin + past)),
               static_cast<std::uint64_t>(total));
      const MutableRows rows = runner.run(window, past, count);
      const MutableRows expected =
          reference_runner ? reference_runner->run(window, past, count) : MutableRows();
      for (std::int64_t row = 0; row < count; ++row) {
        const std::int64_t target = begin + past + row + 1;
        if (target < scored_to) continue;
        const std::span<const float> logits(rows.row(row), vocab);
        const auto id = static_cast<std::size_t>(ids[static_cast<std::size_t>(target)]);
        result.nll += log_sum_exp(logits) - double{logits[id]};
        if (reference_runner) compare(logits, {expected.row(row), vocab}, comparison);
        ++result.tokens;
      }
    }
    scored_to = std::max(scored_to, begin + length);
    progress(static_cast<std::uint64_t>(scored_to), static_cast<std::uint64_t>(total));
  }
  if (reference_runner) {
    result.mean_kl = comparison.kl / static_cast<double>(result.tokens);
    result.top1_share =
        static_cast<double>(comparison.same_top) / static_cast<double>(result.tokens);
  }
  return result;
}

}  // namespace krasis
