#include "model/trace.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <numeric>

#include "formats/safetensors.h"

namespace krasis {
namespace {

constexpr std::int64_t kPageTokens = 64;
constexpr std::string_view kWhiteSpace = " \t\r\n\f\v";

TracedTensor copy_of(Rows rows) {
  TracedTensor tensor = {Shape{rows.rows, rows.cols}, {}};
  tensor.values.reserve(static_cast<std::size_t>(rows.rows * rows.cols));
  for (std::int64_t row = 0; row < rows.rows; ++row)
    tensor.values.insert(tensor.values.end(), rows.row(row), rows.row(row) + rows.cols);
  return tensor;
}

class Collector final : public Observer {
 public:
  explicit Collector(Trace& trace) : trace_(trace) {}

  void hidden(std::int64_t layer, Rows rows) override {
    trace_.tensors.insert_or_assign(fmt::format("hidden.{}", layer), copy_of(rows));
  }
  void router_logits(std::int64_t layer, Rows rows) override {
    trace_.tensors.insert_or_assign(fmt::format("router_logits.{}", layer), copy_of(rows));
  }

 private:
  Trace& trace_;
};

void check_ids(std::span<const std::int32_t> ids, const ModelSpec& spec) {
  if (ids.empty()) throw Error(ErrorCode::InvalidArgument, "trace: there are no token ids");
  if (static_cast<std::int64_t>(ids.size()) > spec.context_length) {
    throw Error(ErrorCode::InvalidArgument,
                fmt::format("trace: {} token ids are more than the model's context of {}",
                            ids.size(), spec.context_length));
  }
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= spec.vocab) {
      throw Error(ErrorCode::InvalidArgument,
                  fmt::format("trace: token id {} is not in [0, {})", id, spec.vocab));
    }
  }
}

}  // namespace

std::vector<std::int32_t> parse_token_ids(std::string_view text) {
  std::vector<std::int32_t> ids;
  for (;;) {
    text.remove_prefix(std::min(text.find_first_not_of(kWhiteSpace), text.size()));
    if (text.empty()) break;
    const std::string_view word = text.substr(0, text.find_first_of(kWhiteSpace));
    std::int32_t id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || end != word.data() + word.size() || id < 0) {
      throw Error(ErrorCode::InvalidArgument,
                  fmt::format("trace: \"{}\" is not a token id", word.substr(0, 40)));
    }
    ids.push_back(id);
    text.remove_prefix(word.size());
  }
  if (ids.empty()) throw Error(ErrorCode::InvalidArgument, "trace: there are no token ids");
  return ids;
}

Trace trace_prompt(Model& model, std::span<const std::int32_t> ids, DType kv_type) {
  const ModelSpec& spec = model.spec();
  check_ids(ids, spec);
  const auto tokens = static_cast<std::int64_t>(ids.size());
  const std::int64_t pages = (tokens + kPageTokens - 1) / kPageTokens;
  ModelState state(spec,
                   {.pages = pages, .page_tokens = kPageTokens, .slots = 1, .kv_type = kv_type},
                   model.memory());
  std::vector<std::int32_t> page_table(static_cast<std::size_t>(pages));
  std::iota(page_table.begin(), page_table.end(), 0);

  Batch batch;
  batch.ids.assign(ids.begin(), ids.end());
  batch.positions.resize(ids.size());
  std::iota(batch.positions.begin(), batch.positions.end(), 0);
  batch.segments = {{.first_row = 0, .rows = tokens, .past = 0, .slot = 0, .pages = page_table}};
  batch.logit_rows = batch.positions;

  Trace trace;
  trace.input_ids = batch.ids;
  TracedTensor& logits =
      trace.tensors.insert_or_assign("logits", TracedTensor{Shape{tokens, spec.vocab}, {}})
          .first->second;
  logits.values.resize(static_cast<std::size_t>(tokens * spec.vocab));
  Collector collector(trace);
  model.forward(batch, state, {logits.values.data(), tokens, spec.vocab}, &collector);
  return trace;
}

void write_trace(const Trace& trace, const std::filesystem::path& path) {
  std::vector<NamedTensor> tensors;
  tensors.push_back({"input_ids", view_of(std::span<const std::int32_t>(trace.input_ids),
                                          {static_cast<std::int64_t>(trace.input_ids.size())})});
  for (const auto& [name, tensor] : trace.tensors)
    tensors.push_back({name, view_of(std::span<const float>(tensor.values), tensor.shape)});
  write_safetensors(path, tensors);
}

}  // namespace krasis
