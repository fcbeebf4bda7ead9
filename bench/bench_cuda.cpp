// links: cuda ops quant tensor base
// Rates of the CUDA kernels at the shapes of real models: median time of a call, how far the best
// and the worst run were from it, and beside it the time that the call's bytes take at the rate of
// a device-to-device copy, or its sums at the rate of a large BF16 product, whichever is longer.
// Calls are queued as one graph and take turns with several copies of their weights, so that these
// come from memory as they do in a model.

#include <CLI/CLI.hpp>
#include <array>
#include <random>
#include <set>

#include "cuda/attention.h"
#include "cuda/attention_expanded.h"
#include "cuda/delta_net.h"
#include "cuda/elementwise.h"
#include "cuda/experts.h"
#include "cuda/linear.h"
#include "cuda/rotary.h"
#include "cuda/route.h"
#include "cuda_meter.h"
#include "cuda_rows.h"
#include "cuda_shapes.h"
#include "quant/expert_tiles.h"

namespace {

using namespace krasis;
using namespace krasis::bench;

constexpr std::int64_t kPromptTokens = 8192;

// So many copies of `bytes` that a cache does not hold them, but no more than is of use.
int copies_of(std::int64_t bytes) {
  constexpr std::int64_t kMoreThanCaches = std::int64_t{256} << 20;
  return static_cast<int>(std::clamp<std::int64_t>(kMoreThanCaches / bytes + 1, 2, 32));
}

std::string row_name(const ModelShape& model, const std::string& what, std::int64_t tokens) {
  return std::string(model.name) + " " + what + ", " + std::to_string(tokens) +
         (tokens == 1 ? " token" : " tokens");
}

void measure_rates(Meter& meter, double tera_operations) {
  constexpr std::int64_t kBytes = std::int64_t{1} << 30;
  std::byte* from = meter.take(kBytes);
  // As a node of a graph and exactly 1 GiB apart, an H100 copied 2,430 instead of 2,980 GB/s.
  meter.take(3 << 20);
  std::byte* to = meter.take(kBytes);
  const auto copied = meter.measure(
      1,
      [&](int) {
        cuda::check(cudaMemcpyAsync(to, from, kBytes, cudaMemcpyDeviceToDevice, meter.stream()),
                    "copying");
      },
      Meter::Queue::OneByOne);
  meter.release();
  Rates rates = {.bytes = 2 * real(kBytes) / copied.median, .operations = tera_operations * 1e12};
  std::printf("copy of 1 GiB: %.0f GB/s read and written\n", rates.bytes * 1e-9);
  if (tera_operations == 0) {
    constexpr std::int64_t kSize = 8192;
    const std::byte* weight = meter.take(kSize * kSize * 2);
    const RowsSet x(meter, 1, kSize, kSize), out(meter, 1, kSize, kSize);
    if (meter.cublas() == nullptr) {
      throw Error(ErrorCode::Unsupported, "bench: no cuBLASLt to measure the bound with (" +
                                              meter.no_cublas() + "), give --tflops");
    }
    const cuda::DenseProduct product = {.weight = reinterpret_cast<const __nv_bfloat16*>(weight),
                                        .weight_stride = kSize,
                                        .x = reinterpret_cast<const __nv_bfloat16*>(x.data),
                                        .x_stride = kSize,
                                        .out = out.data,
                                        .out_stride = kSize,
                                        .rows = kSize,
                                        .columns = kSize,
                                        .tokens = kSize};
    const auto multiplied = meter.measure(2, [&](int) {
      meter.with_launch(
          [&](const cuda::Launch& launch) { launch.cublas->multiply(product, launch); });
    });
    rates.operations = 2 * real(kSize) * real(kSize) * real(kSize) / multiplied.median;
    meter.release();
  }
  std::printf("BF16 product: %.0f TFLOP/s%s\n", rates.operations * 1e-12,
              tera_operations == 0 ? " (cuBLASLt, 8192 x 8192 x 8192)" : " (given)");
  meter.set_rates(rates);
}

void bench_rows(Meter& meter, const ModelShape& model, std::int64_t tokens) {
  const std::int64_t hidden = model.hidden;
  const int calls = copies_of(tokens * hidden * 8);
  const RowsSet x(meter, calls, tokens, hidden), out(meter, calls, tokens, hidden);
  const std::span<const float> weight = {meter.floats(hidden), static_cast<std::size_t>(hidden)};
  meter.report(row_name(model, "rms_norm", tokens), {2 * x.bytes()}, calls, [&](int i) {
    meter.run(cuda::rms_norm, {.x = x[i], .weight = weight, .eps = 1e-6F, .out = out[i]});
  });
  meter.report(row_name(model, "add", tokens), {3 * x.bytes()}, calls,
               [&](int i) { meter.run(cuda::add, {.x = x[i], .y = out[i], .out = out[i]}); });
  meter.report(row_name(model, "copy", tokens), {2 * x.bytes()}, calls,
               [&](int i) { meter.run(cuda::copy, {.x = x[i], .out = out[i]}); });
  meter.report(row_name(model, "sigmoid_multiply", tokens), {3 * x.bytes()}, calls, [&](int i) {
    meter.run(cuda::sigmoid_multiply, {.x = x[i], .gate = out[i], .out = out[i]});
  });
  std::mt19937 random(1);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens));
  for (auto& id : ids) id = static_cast<std::int32_t>(random() % model.vocab);
  const std::span<const std::int32_t> tokens_at = {meter.upload(ids), ids.size()};
  const Matrix table = {.format = Matrix::Format::BF16,
                        .rows = model.vocab,
                        .columns = hidden,
                        .data = meter.take(model.vocab * hidden * 2),
                        .tiles = std::nullopt};
  meter.report(row_name(model, "embedding", tokens), {1.5 * x.bytes()}, calls, [&](int i) {
    meter.run(cuda::embedding, {.ids = tokens_at, .table = table, .out = out[i]});
  });
  meter.release();
}

void bench_rotary(Meter& meter, const ModelShape& model, std::int64_t tokens) {
  const AttentionShape& shape = model.attention;
  const std::int64_t half = shape.rotary_dim / 2;
  const int calls = copies_of(tokens * shape.rotary_heads * shape.rotary_dim * 4);
  const RowsSet x(meter, calls, tokens * shape.rotary_heads, shape.rotary_dim);
  const RowsSet cosine(meter, 1, tokens, half), sine(meter, 1, tokens, half);
  std::vector<std::int32_t> positions(static_cast<std::size_t>(tokens));
  std::iota(positions.begin(), positions.end(), 0);
  const std::span<const std::int32_t> at = {meter.upload(positions), positions.size()};
  meter.report(row_name(model, "rotary_table", tokens), {2 * cosine.bytes()}, calls, [&](int) {
    meter.run(cuda::rotary_table, {.positions = at,
                                   .frequencies = cosine.vector(),
                                   .scale = 1,
                                   .cosine = cosine[0],
                                   .sine = sine[0]});
  });
  meter.report(row_name(model, "rotary", tokens), {2 * x.bytes() + 2 * cosine.bytes()}, calls,
               [&](int i) {
                 meter.run(cuda::rotary, {.x = x[i],
                                          .cosine = cosine[0],
                                          .sine = sine[0],
                                          .heads = shape.rotary_heads,
                                          .interleaved = shape.interleaved,
                                          .out = x[i]});
               });
  meter.release();
}

void bench_route(Meter& meter, const ModelShape& model, std::int64_t tokens) {
  const int calls = copies_of(tokens * model.experts * 4);
  const RowsSet logits(meter, calls, tokens, model.experts);
  const auto pairs = static_cast<std::size_t>(tokens * model.top_k);
  auto* ids = reinterpret_cast<std::int32_t*>(meter.floats(tokens * model.top_k));
  float* weights = meter.floats(tokens * model.top_k);
  const Routing routing = {.experts = model.experts,
                           .top_k = model.top_k,
                           .scoring = model.sigmoid_routing ? Scoring::Sigmoid : Scoring::Softmax};
  meter.report(row_name(model, "route", tokens), {logits.bytes() + real(tokens * model.top_k) * 8},
               calls, [&](int i) {
                 meter.run(cuda::route, {.logits = logits[i],
                                         .bias = {},
                                         .routing = routing,
                                         .ids = {ids, pairs},
                                         .weights = {weights, pairs}});
               });
  meter.release();
}

// E4M3 below 2 all over `bytes`: the arena's pattern has NaNs among them.
void fill_narrow(Meter& meter, std::byte* to, std::int64_t bytes) {
  std::mt19937 random(2);
  std::vector<std::uint32_t> words(std::size_t{1} << 18);
  for (std::uint32_t& word : words) word = static_cast<std::uint32_t>(random()) & 0xBFBFBFBFU;
  const auto piece = static_cast<std::int64_t>(words.size() * sizeof(std::uint32_t));
  const auto* const first = reinterpret_cast<const std::byte*>(meter.upload(words));
  for (std::int64_t at = 0; at < bytes; at += piece) {
    cuda::check(
        cudaMemcpyAsync(to + at, first, static_cast<std::size_t>(std::min(piece, bytes - at)),
                        cudaMemcpyDeviceToDevice, meter.stream()),
        "filling a cache");
  }
}

// `rows` new tokens of each sequence, which then has `context`.
void bench_attention(Meter& meter, const ModelShape& model, std::int64_t count, std::int64_t rows,
                     std::int64_t context, DType dtype = DType::BF16) {
  const AttentionShape& shape = model.attention;
  const Sequences sequences(count, rows, context);
  const std::int64_t tokens = count * rows;
  const std::int64_t pages = count * sequences.pages;
  const std::int64_t numbers =
      shape.kv_heads * (shape.key_dim + (shape.latent ? 0 : shape.value_dim));
  const auto element = static_cast<std::int64_t>(size_of(dtype));
  const std::int64_t cache_bytes = pages * Sequences::kPageTokens * numbers * element;
  const int calls = rows > 1 ? 2 : copies_of(cache_bytes);
  const cuda::StepTables tables = meter.tables(sequences.segments, tokens);
  std::byte* caches = meter.take(calls * cache_bytes);
  if (dtype == DType::F8E4M3) fill_narrow(meter, caches, calls * cache_bytes);
  const auto cache = [&](int i) {
    std::byte* keys = caches + i * cache_bytes;
    return PagedKv{.keys = keys,
                   .values = shape.latent ? nullptr
                                          : keys + pages * Sequences::kPageTokens * shape.kv_heads *
                                                       shape.key_dim * element,
                   .dtype = dtype,
                   .pages = pages,
                   .page_tokens = Sequences::kPageTokens,
                   .kv_heads = shape.kv_heads,
                   .key_dim = shape.key_dim,
                   .value_dim = shape.value_dim};
  };
  const RowsSet queries(meter, 1, tokens * shape.heads, shape.key_dim);
  const RowsSet out(meter, 1, tokens * shape.heads, shape.value_dim);
  const RowsSet keys(meter, 1, tokens * shape.kv_heads, shape.key_dim);
  const RowsSet values(meter, 1, shape.latent ? 0 : tokens * shape.kv_heads, shape.value_dim);
  const std::string suffix = " of " + std::to_string(count) + " x " + std::to_string(context) +
                             (dtype == DType::F8E4M3 ? " in the FP8 cache" : " in the cache");
  meter.report(
      row_name(model, "kv_append", tokens) + suffix, {1.5 * (keys.bytes() + values.bytes())}, calls,
      [&](int i) {
        meter.run(
            cuda::kv_append,
            {.keys = keys[0], .values = values[0], .kv = cache(i), .segments = sequences.segments},
            tables);
      });
  const double pairs = real(count) * real(rows) * (real(context) - real(rows - 1) / 2);
  const Bound bound = {
      .bytes = real(count * context * numbers * element) + queries.bytes() + out.bytes(),
      .operations = 2 * pairs * real(shape.heads * (shape.key_dim + shape.value_dim))};
  meter.report(row_name(model, "attention", tokens) + suffix, bound, calls, [&](int i) {
    meter.run(cuda::attention,
              {.queries = queries[0],
               .kv = cache(i),
               .segments = sequences.segments,
               .heads = shape.heads,
               .scale = 0.05F,
               .out = out[0]},
              tables);
  });
  meter.release();
}

// A prompt's attention over latents in the expanded form, the expansion included.
void bench_over_latents(Meter& meter, std::int64_t heads, std::int64_t rows, std::int64_t context) {
  constexpr std::int64_t kLatent = 512, kRope = 64, kNope = 128, kValue = 128;
  const Sequences sequences(1, rows, context);
  const cuda::StepTables tables = meter.tables(sequences.segments, rows);
  const auto up = [&](std::int64_t outputs, std::int64_t inputs) {
    return Matrix{.format = Matrix::Format::BF16,
                  .rows = outputs,
                  .columns = inputs,
                  .data = meter.take(outputs * inputs * 2),
                  .tiles = std::nullopt};
  };
  const std::int64_t page_bytes = Sequences::kPageTokens * (kLatent + kRope) * 2;
  const RowsSet queries(meter, 1, rows * heads, kNope);
  const RowsSet absorbed(meter, 1, rows * heads, kLatent + kRope);
  const RowsSet mixed(meter, 1, rows * heads, kLatent), out(meter, 1, rows * heads, kValue);
  const AttentionOverLatents op = {.queries = queries[0],
                                   .absorbed = absorbed[0],
                                   .mixed = mixed[0],
                                   .key_up = up(heads * kLatent, kNope),
                                   .value_up = up(heads * kValue, kLatent),
                                   .kv = {.keys = meter.take(sequences.pages * page_bytes),
                                          .values = nullptr,
                                          .dtype = DType::BF16,
                                          .pages = sequences.pages,
                                          .page_tokens = Sequences::kPageTokens,
                                          .kv_heads = 1,
                                          .key_dim = kLatent + kRope,
                                          .value_dim = kLatent},
                                   .segments = sequences.segments,
                                   .heads = heads,
                                   .scale = 0.05F,
                                   .out = out[0]};
  const double pairs = real(rows) * (real(context) - real(rows - 1) / 2);
  const Bound bound = {.bytes = queries.bytes() + out.bytes(),
                       .operations = 2 * real(heads) *
                                     (pairs * real(kNope + kRope + kValue) +
                                      real(context * kLatent * (kNope + kValue)))};
  meter.report("over latents, " + std::to_string(heads) + " heads, " + std::to_string(rows) +
                   " tokens of " + std::to_string(context),
               bound, 2, [&](int) {
                 meter.with_launch(
                     [&](const cuda::Launch& launch) {
                       const cuda::ExpandedPlan plan =
                           cuda::plan_expanded(op, launch.tables, launch.device,
                                               launch.cublas != nullptr, launch.scratch.bytes());
                       if (plan.least_rows > 0) cuda::attention_over_latents(op, plan, launch);
                     },
                     tables);
               });
  meter.release();
}

void bench_conv(Meter& meter, const ModelShape& model, const Sequences& sequences,
                std::int64_t tokens) {
  const DeltaShape& shape = model.delta;
  const auto slots = static_cast<std::int64_t>(sequences.segments.size());
  const int calls = copies_of(tokens * shape.channels() * 8);
  const cuda::StepTables tables = meter.tables(sequences.segments, tokens);
  const RowsSet x(meter, calls, tokens, shape.channels());
  const RowsSet mixed(meter, calls, tokens, shape.channels());
  const RowsSet weight(meter, 1, 1, shape.channels() * shape.conv_width);
  const RowsSet state(meter, calls, slots * (shape.conv_width - 1), shape.channels());
  meter.report(row_name(model, "causal_conv", tokens) + " of " + std::to_string(slots),
               {2 * x.bytes() + 2 * state.bytes() + weight.bytes()}, calls, [&](int i) {
                 meter.run(cuda::causal_conv,
                           {.x = x[i],
                            .weight = weight.vector(),
                            .width = shape.conv_width,
                            .state = state[i].data,
                            .slots = slots,
                            .segments = sequences.segments,
                            .out = mixed[i]},
                           tables);
               });
  meter.release();
}

void bench_gates(Meter& meter, const ModelShape& model, std::int64_t tokens) {
  const std::int64_t heads = model.delta.value_heads, values = heads * model.delta.dim;
  const RowsSet gates(meter, 1, tokens, 2 * heads), made(meter, 1, tokens, 2 * heads);
  const RowsSet parameters(meter, 1, 1, heads);
  meter.report(row_name(model, "delta_gates", tokens), {2 * gates.bytes()}, 8, [&](int) {
    meter.run(cuda::delta_gates, {.a = gates[0].columns(0, heads),
                                  .b = gates[0].columns(heads, heads),
                                  .a_log = parameters.vector(),
                                  .dt_bias = parameters.vector(),
                                  .log_decay = made[0].columns(0, heads),
                                  .beta = made[0].columns(heads, heads)});
  });
  const int calls = copies_of(tokens * values * 12);
  const RowsSet x(meter, calls, tokens, values), gate(meter, calls, tokens, values);
  meter.report(row_name(model, "gated_rms_norm", tokens), {3 * x.bytes()}, calls, [&](int i) {
    const MutableRows rows = x[i].split(heads);
    meter.run(cuda::gated_rms_norm,
              {.x = rows,
               .gate = gate[i].split(heads),
               .weight = x.vector().first(static_cast<std::size_t>(model.delta.dim)),
               .eps = 1e-6F,
               .out = rows});
  });
  meter.release();
}

// Operations: those of the form that works in chunks of 64 tokens, which are the fewer.
void bench_delta_net(Meter& meter, const ModelShape& model, const Sequences& sequences,
                     std::int64_t tokens) {
  const DeltaShape& shape = model.delta;
  const auto slots = static_cast<std::int64_t>(sequences.segments.size());
  const std::int64_t keys = shape.key_heads * shape.dim, values = shape.value_heads * shape.dim;
  const std::int64_t state_size = slots * shape.value_heads * shape.dim * shape.dim;
  const int calls = copies_of(state_size * 8 + tokens * (keys + values) * 8);
  const cuda::StepTables tables = meter.tables(sequences.segments, tokens);
  const RowsSet mixed(meter, calls, tokens, shape.channels());
  const RowsSet out(meter, calls, tokens, values);
  const RowsSet state(meter, calls, 1, state_size);
  const auto gate_count = static_cast<std::size_t>(tokens * shape.value_heads);
  const Rows decay(meter.upload(std::vector<float>(gate_count, -0.1F)), tokens, shape.value_heads);
  const Rows beta(meter.upload(std::vector<float>(gate_count, 0.5F)), tokens, shape.value_heads);
  constexpr double kChunk = 64;
  const double dim = real(shape.dim);
  const double per_token = 2 * (3 * dim * dim + 4 * kChunk / 2 * dim);
  const Bound bound = {
      .bytes = mixed.bytes() + out.bytes() + 2 * state.bytes() + real(tokens) * 8,
      .operations = tokens > slots * 8 ? real(tokens * shape.value_heads) * per_token : 0};
  meter.report(row_name(model, "delta_net", tokens) + " of " + std::to_string(slots), bound, calls,
               [&](int i) {
                 meter.run(cuda::delta_net,
                           {.q = mixed[i].columns(0, keys),
                            .k = mixed[i].columns(keys, keys),
                            .v = mixed[i].columns(2 * keys, values),
                            .log_decay = decay,
                            .beta = beta,
                            .key_heads = shape.key_heads,
                            .value_heads = shape.value_heads,
                            .key_dim = shape.dim,
                            .value_dim = shape.dim,
                            .state = state[i].data,
                            .slots = slots,
                            .segments = sequences.segments,
                            .out = out[i]},
                           tables);
               });
  meter.release();
}

// Matrices one after another; tiles and scales are random bits.
struct Weights {
  Weights(Meter& meter, int count, Matrix::Format matrix_format, std::int64_t matrix_rows,
          std::int64_t matrix_columns)
      : format(matrix_format), shape({8, 128}, matrix_rows, matrix_columns) {
    tile_bytes = static_cast<std::int64_t>(shape.tile_bytes());
    bytes = format == Matrix::Format::Tiles
                ? tile_bytes + static_cast<std::int64_t>(shape.scale_bytes())
                : matrix_rows * matrix_columns * 2;
    data = meter.take(count * bytes);
  }
  Matrix operator[](int index) const {
    const std::byte* at = data + index * bytes;
    if (format == Matrix::Format::Tiles) {
      return Matrix::of(TileMatrix{
          .shape = shape, .tiles = at, .scales = reinterpret_cast<const bf16*>(at + tile_bytes)});
    }
    return {.format = format,
            .rows = shape.rows,
            .columns = shape.columns,
            .data = at,
            .tiles = std::nullopt};
  }

  Matrix::Format format;
  TileShape shape;
  std::int64_t tile_bytes = 0, bytes = 0;
  std::byte* data = nullptr;
};

void bench_linear(Meter& meter, const ModelShape& model, const LinearShape& shape,
                  Matrix::Format format, std::int64_t tokens) {
  const std::int64_t matrices = std::max<std::int64_t>(1, shape.heads);
  const Matrix::Format used = shape.heads > 0 ? Matrix::Format::BF16 : format;
  const std::int64_t bytes = matrices * shape.outputs * shape.inputs * 2;
  const int calls = tokens > 64 ? 2 : copies_of(bytes);
  const Weights weights(meter, calls, used, matrices * shape.outputs, shape.inputs);
  const RowsSet x(meter, 1, tokens * matrices, shape.inputs);
  const RowsSet out(meter, 1, tokens * matrices, shape.outputs);
  const Bound bound = {
      .bytes = real(weights.bytes) + x.bytes() + out.bytes(),
      .operations = 2 * real(tokens * matrices) * real(shape.outputs * shape.inputs)};
  const std::string name =
      row_name(model,
               std::string(shape.heads > 0 ? "head_linear " : "linear ") +
                   (used == Matrix::Format::Tiles ? "INT8 " : "BF16 ") + shape.name,
               tokens);
  meter.report(name, bound, calls, [&](int i) {
    if (shape.heads > 0) {
      meter.run(cuda::head_linear,
                {.x = x[0], .weight = weights[i], .heads = shape.heads, .out = out[0]});
    } else {
      meter.run(cuda::linear, {.x = x[0], .weight = weights[i], .bias = {}, .out = out[0]});
    }
  });
  meter.release();
}

// For each call other experts, distinct for a token.
struct Choices {
  Choices(std::int64_t calls, std::int64_t tokens, std::int64_t experts, std::int64_t top_k) {
    std::mt19937 random(1);
    std::vector<std::int32_t> all(static_cast<std::size_t>(experts));
    std::iota(all.begin(), all.end(), 0);
    for (std::int64_t call = 0; call < calls; ++call) {
      std::set<std::int32_t> chosen;
      for (std::int64_t t = 0; t < tokens; ++t) {
        for (std::size_t j = 0; j < static_cast<std::size_t>(top_k); ++j) {
          std::swap(all[j], all[j + random() % (all.size() - j)]);
          ids.push_back(all[j]);
          chosen.insert(all[j]);
        }
      }
      distinct += real(static_cast<std::int64_t>(chosen.size())) / real(calls);
    }
  }
  std::vector<std::int32_t> ids;  // [calls, tokens, top_k]
  double distinct = 0;            // experts of a call
};

void bench_experts(Meter& meter, const ModelShape& model, int bits, std::int64_t tokens,
                   bool shared) {
  const std::int64_t count = shared ? 1 : model.experts;
  const std::int64_t top_k = shared ? 1 : model.top_k;
  const ExpertLayout layout({bits, 128}, model.hidden,
                            shared ? model.shared_intermediate : model.intermediate);
  const auto layer_bytes = static_cast<std::int64_t>(layout.layer_bytes(count));
  const int layers = shared && tokens <= 64 ? copies_of(layer_bytes) : 1;
  const int calls = tokens > 64 ? 1 : std::max(layers, 16);
  const std::byte* base = meter.take(layers * layer_bytes);
  const RowsSet x(meter, 1, tokens, model.hidden), out(meter, 1, tokens, model.hidden);
  const Choices choices(calls, tokens, count, top_k);
  const auto pairs = static_cast<std::size_t>(tokens * top_k);
  const std::int32_t* ids = meter.upload(choices.ids);
  const std::span<const float> weights = {meter.floats(tokens * top_k), pairs};
  const auto matrices = [&](int i) {
    return ExpertMatrices::of(layout, count, base + i % layers * layer_bytes);
  };
  const double expert_bytes =
      real(static_cast<std::int64_t>(layout.w13.tile_bytes() + layout.w13.scale_bytes() +
                                     layout.w2.tile_bytes() + layout.w2.scale_bytes()));
  const Bound bound = {
      .bytes = choices.distinct * expert_bytes + x.bytes() + out.bytes(),
      .operations = 6 * real(tokens * top_k) * real(layout.hidden * layout.intermediate)};
  const std::string name = row_name(
      model, std::string(shared ? "shared expert" : "experts") + " INT" + std::to_string(bits),
      tokens);
  meter.report(name, bound, calls, [&](int i) {
    meter.run(cuda::experts, {.x = x[0],
                              .ids = {ids + static_cast<std::size_t>(i) * pairs, pairs},
                              .weights = weights,
                              .top_k = top_k,
                              .matrices = matrices(i),
                              .out = out[0]});
  });
  meter.release();
}

void bench_model(Meter& meter, const ModelShape& model) {
  std::printf("\n%s\n", model.name);
  for (const std::int64_t tokens : {std::int64_t{1}, kPromptTokens}) {
    bench_rows(meter, model, tokens);
    bench_rotary(meter, model, tokens);
    bench_route(meter, model, tokens);
  }
  bench_attention(meter, model, 1, kPromptTokens, kPromptTokens);
  bench_attention(meter, model, 1, 2048, 32768);
  bench_attention(meter, model, 4, 512, 512);
  bench_attention(meter, model, 1, 1, 4096);
  bench_attention(meter, model, 1, 1, 32768);
  bench_attention(meter, model, 8, 1, 8192);
  bench_attention(meter, model, 8, 1, 32768);
  bench_attention(meter, model, 32, 1, 32768);
  if (model.attention.latent) {
    bench_over_latents(meter, model.attention.heads, kPromptTokens, kPromptTokens);
    bench_over_latents(meter, model.attention.heads, kPromptTokens, 32768);
    bench_over_latents(meter, 128, 2048, 32768);
  }
  for (const auto& [count, rows, context] :
       std::vector<std::array<std::int64_t, 3>>{{1, kPromptTokens, kPromptTokens},
                                                {1, 2048, 32768},
                                                {1, 1, 4096},
                                                {1, 1, 32768},
                                                {8, 1, 8192},
                                                {8, 1, 32768},
                                                {32, 1, 32768}})
    bench_attention(meter, model, count, rows, context, DType::F8E4M3);
  if (model.delta.key_heads > 0) {
    for (const auto& [count, rows] : std::vector<std::pair<std::int64_t, std::int64_t>>{
             {1, kPromptTokens}, {1, 1024}, {4, 512}, {1, 1}, {8, 1}, {64, 1}}) {
      const Sequences sequences(count, rows, rows + 1);
      bench_conv(meter, model, sequences, count * rows);
      bench_gates(meter, model, count * rows);
      bench_delta_net(meter, model, sequences, count * rows);
    }
  }
  for (const LinearShape& shape : model.linears) {
    const bool head = shape.outputs == model.vocab;  // of a prompt only the last token
    for (const std::int64_t tokens : {std::int64_t{1}, std::int64_t{8}, kPromptTokens}) {
      if (head && tokens > 8) continue;
      bench_linear(meter, model, shape, Matrix::Format::Tiles, tokens);
      if (shape.heads == 0) bench_linear(meter, model, shape, Matrix::Format::BF16, tokens);
    }
  }
  for (const int bits : {4, 8}) {
    for (const std::int64_t tokens : {1, 2, 4, 8, 32, 128, 512, 2048, 8192, 16384})
      bench_experts(meter, model, bits, tokens, false);
  }
  if (model.shared_intermediate == 0) return;
  for (const std::int64_t tokens : {std::int64_t{1}, std::int64_t{8}, kPromptTokens})
    bench_experts(meter, model, 8, tokens, true);
}

}  // namespace

int main(int argc, char** argv) {
  MeterOptions options;
  std::string only_model;
  double arena_gigabytes = 12;
  CLI::App app("Rates of the CUDA kernels beside what the GPU allows");
  app.add_option("--only", options.only, "rows whose name contains this");
  app.add_option("--model", only_model, "models whose name contains this");
  app.add_option("--runs", options.runs, "runs of each row")->check(CLI::Range(3, 1000));
  app.add_option("--tflops", options.tera_operations, "of BF16 products; measured if not given");
  app.add_option("--arena", arena_gigabytes, "GB of device memory for inputs and results");
  CLI11_PARSE(app, argc, argv);
  options.arena_bytes = static_cast<std::size_t>(arena_gigabytes * 1e9);
  try {
    cudaDeviceProp device{};
    cuda::check(cudaGetDeviceProperties(&device, 0), "asking for the device");
    std::printf("%s, %d multiprocessors\n", device.name, device.multiProcessorCount);
    Meter meter(options);
    measure_rates(meter, options.tera_operations);
    Meter::print_header();
    for (const ModelShape& model : model_shapes()) {
      if (std::string(model.name).find(only_model) != std::string::npos) bench_model(meter, model);
    }
    return meter.failures() == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 3;
  }
}
