#include <algorithm>
#include <limits>

#include "base/float8.h"
#include "ops/reference.h"

namespace krasis::reference {
namespace {

std::int64_t key_at(const PagedKv& kv, const Segment& segment, std::int64_t head,
                    std::int64_t token, std::int64_t dim) {
  const std::int64_t page = segment.pages[static_cast<std::size_t>(token / kv.page_tokens)];
  return ((page * kv.kv_heads + head) * kv.page_tokens + token % kv.page_tokens) * dim;
}

void store(std::byte* cache, DType dtype, std::int64_t at, float value) {
  if (dtype == DType::F32) {
    reinterpret_cast<float*>(cache)[at] = value;
  } else if (dtype == DType::F8E4M3) {
    reinterpret_cast<e4m3*>(cache)[at] = to_e4m3(value);
  } else {
    reinterpret_cast<bf16*>(cache)[at] = to_bf16(value);
  }
}

double load(const std::byte* cache, DType dtype, std::int64_t at) {
  if (dtype == DType::F32) return double{reinterpret_cast<const float*>(cache)[at]};
  if (dtype == DType::F8E4M3) return double{to_float(reinterpret_cast<const e4m3*>(cache)[at])};
  return double{to_float(reinterpret_cast<const bf16*>(cache)[at])};
}

void attend(const Attention& op, const Segment& segment, std::int64_t token, std::int64_t head) {
  const PagedKv& kv = op.kv;
  const std::int64_t kv_head = head / (op.heads / kv.kv_heads);
  const std::int64_t row = (segment.first_row + token) * op.heads + head;
  const std::int64_t visible = segment.past + token + 1;
  std::vector<double> scores(static_cast<std::size_t>(visible));
  double largest = -std::numeric_limits<double>::infinity();
  for (std::int64_t i = 0; i < visible; ++i) {
    const std::int64_t at = key_at(kv, segment, kv_head, i, kv.key_dim);
    double dot = 0;
    for (std::int64_t d = 0; d < kv.key_dim; ++d)
      dot += double{op.queries.row(row)[d]} * load(kv.keys, kv.dtype, at + d);
    scores[static_cast<std::size_t>(i)] = double{op.scale} * dot;
    largest = std::max(largest, scores[static_cast<std::size_t>(i)]);
  }
  double sum = 0;
  std::vector<double> out(static_cast<std::size_t>(kv.value_dim));
  for (std::int64_t i = 0; i < visible; ++i) {
    const double weight = std::exp(scores[static_cast<std::size_t>(i)] - largest);
    sum += weight;
    const bool latent = kv.values == nullptr;
    const std::int64_t at = key_at(kv, segment, kv_head, i, latent ? kv.key_dim : kv.value_dim);
    for (std::size_t d = 0; d < out.size(); ++d) {
      out[d] +=
          weight * load(latent ? kv.keys : kv.values, kv.dtype, at + static_cast<std::int64_t>(d));
    }
  }
  for (std::size_t d = 0; d < out.size(); ++d)
    op.out.row(row)[d] = static_cast<float>(out[d] / sum);
}

// x / sqrt(sum x^2 + 1e-6), times `factor`
std::vector<double> l2norm(const float* x, std::int64_t count, double factor) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += double{x[i]} * double{x[i]};
  const double scale = factor / std::sqrt(sum + 1e-6);
  std::vector<double> out(static_cast<std::size_t>(count));
  std::transform(x, x + count, out.begin(), [&](float value) { return double{value} * scale; });
  return out;
}

// One token of one value head; `state` [key_dim, value_dim].
void delta_step(const DeltaNet& op, std::int64_t row, std::int64_t head,
                std::vector<double>& state) {
  const std::int64_t key_head = head / (op.value_heads / op.key_heads);
  const std::vector<double> q = l2norm(op.q.row(row) + key_head * op.key_dim, op.key_dim,
                                       1 / std::sqrt(static_cast<double>(op.key_dim)));
  const std::vector<double> k = l2norm(op.k.row(row) + key_head * op.key_dim, op.key_dim, 1);
  const double decay = std::exp(double{op.log_decay.row(row)[head]});
  const double beta = op.beta.row(row)[head];
  const auto width = static_cast<std::size_t>(op.value_dim);
  for (double& value : state) value *= decay;
  for (std::size_t c = 0; c < width; ++c) {
    double remembered = 0;
    for (std::size_t r = 0; r < k.size(); ++r) remembered += state[r * width + c] * k[r];
    const std::int64_t column = head * op.value_dim + static_cast<std::int64_t>(c);
    const double change = beta * (double{op.v.row(row)[column]} - remembered);
    double out = 0;
    for (std::size_t r = 0; r < k.size(); ++r) {
      state[r * width + c] += k[r] * change;
      out += state[r * width + c] * q[r];
    }
    op.out.row(row)[column] = static_cast<float>(out);
  }
}

}  // namespace

double key_number(const PagedKv& kv, const Segment& segment, std::int64_t head, std::int64_t token,
                  std::int64_t index) {
  return load(kv.keys, kv.dtype, key_at(kv, segment, head, token, kv.key_dim) + index);
}

void kv_append(const KvAppend& op) {
  const PagedKv& kv = op.kv;
  for (const Segment& segment : op.segments) {
    for (std::int64_t t = 0; t < segment.rows; ++t) {
      for (std::int64_t h = 0; h < kv.kv_heads; ++h) {
        const std::int64_t row = (segment.first_row + t) * kv.kv_heads + h;
        const std::int64_t key = key_at(kv, segment, h, segment.past + t, kv.key_dim);
        for (std::int64_t d = 0; d < kv.key_dim; ++d)
          store(kv.keys, kv.dtype, key + d, op.keys.row(row)[d]);
        if (kv.values == nullptr) continue;
        const std::int64_t value = key_at(kv, segment, h, segment.past + t, kv.value_dim);
        for (std::int64_t d = 0; d < kv.value_dim; ++d)
          store(kv.values, kv.dtype, value + d, op.values.row(row)[d]);
      }
    }
  }
}

void attention(const Attention& op) {
  for (const Segment& segment : op.segments) {
    for (std::int64_t t = 0; t < segment.rows; ++t)
      for (std::int64_t h = 0; h < op.heads; ++h) attend(op, segment, t, h);
  }
}

void causal_conv(const CausalConv& op) {
  const std::int64_t channels = op.x.cols;
  const std::int64_t past = op.width - 1;
  for (const Segment& segment : op.segments) {
    if (segment.rows == 0) continue;
    for (std::int64_t c = 0; c < channels; ++c) {
      // All inputs of this channel, those before the segment first.
      std::vector<float> inputs(static_cast<std::size_t>(past + segment.rows));
      const auto state_at = [&](std::int64_t i) {
        return (segment.slot * past + i) * channels + c;
      };
      if (segment.past > 0) {
        for (std::int64_t i = 0; i < past; ++i)
          inputs[static_cast<std::size_t>(i)] = op.state[state_at(i)];
      }
      for (std::int64_t t = 0; t < segment.rows; ++t)
        inputs[static_cast<std::size_t>(past + t)] = op.x.row(segment.first_row + t)[c];

      for (std::int64_t t = 0; t < segment.rows; ++t) {
        double sum = 0;
        for (std::int64_t j = 0; j < op.width; ++j) {
          sum += double{op.weight[static_cast<std::size_t>(c * op.width + j)]} *
                 double{inputs[static_cast<std::size_t>(t + j)]};
        }
        op.out.row(segment.first_row + t)[c] = static_cast<float>(silu(sum));
      }
      for (std::int64_t i = 0; i < past; ++i)
        op.state[state_at(i)] = inputs[static_cast<std::size_t>(segment.rows + i)];
    }
  }
}

void delta_gates(const DeltaGates& op) {
  for (std::int64_t t = 0; t < op.a.rows; ++t) {
    for (std::int64_t h = 0; h < op.a.cols; ++h) {
      const auto head = static_cast<std::size_t>(h);
      const double z = double{op.a.row(t)[h]} + double{op.dt_bias[head]};
      // log(1 + exp(z)), which exp alone would take out of range
      const double softplus = std::max(z, 0.0) + std::log1p(std::exp(-std::abs(z)));
      op.log_decay.row(t)[h] = static_cast<float>(-std::exp(double{op.a_log[head]}) * softplus);
      op.beta.row(t)[h] = static_cast<float>(sigmoid(double{op.b.row(t)[h]}));
    }
  }
}

void delta_net(const DeltaNet& op) {
  const std::int64_t size = op.key_dim * op.value_dim;
  for (const Segment& segment : op.segments) {
    if (segment.rows == 0) continue;
    for (std::int64_t h = 0; h < op.value_heads; ++h) {
      float* slot = op.state + (segment.slot * op.value_heads + h) * size;
      std::vector<double> state(static_cast<std::size_t>(size));
      if (segment.past > 0) std::copy_n(slot, size, state.begin());
      for (std::int64_t t = 0; t < segment.rows; ++t)
        delta_step(op, segment.first_row + t, h, state);
      std::transform(state.begin(), state.end(), slot,
                     [](double value) { return static_cast<float>(value); });
    }
  }
}

}  // namespace krasis::reference
