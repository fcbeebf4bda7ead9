#include "app/local_backend.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/file.h"
#include "text/detokenizer.h"
#include "text/reasoning.h"

namespace krasis {
namespace {

// What the engine's thread says, for the thread that waits.
class EventQueue {
 public:
  void push(const TokenEvent& event) {
    {
      const std::lock_guard hold(events_lock_);
      events_.push_back(event);
    }
    changed_.notify_one();
  }

  // The next event, or nothing within 50 ms.
  std::optional<TokenEvent> pop() {
    std::unique_lock hold(events_lock_);
    changed_.wait_for(hold, std::chrono::milliseconds(50), [&] { return !events_.empty(); });
    if (events_.empty()) return std::nullopt;
    TokenEvent event = std::move(events_.front());
    events_.pop_front();
    return event;
  }

 private:
  std::mutex events_lock_;
  std::condition_variable changed_;
  std::deque<TokenEvent> events_;
};

float number_or(const nlohmann::json& config, const char* key, float fallback, float least,
                float most) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return fallback;
  const double value = found->is_number() ? found->get<double>() : -1;
  if (!(value >= double{least} && value <= double{most})) {
    throw Error(ErrorCode::Corrupt, std::string("generation_config.json: \"") + key +
                                        "\": " + found->dump() + " is not a number from " +
                                        std::to_string(least) + " to " + std::to_string(most));
  }
  return static_cast<float>(value);
}

const char* finish_name(FinishReason reason) {
  return reason == FinishReason::Length ? "length" : "stop";
}

}  // namespace

SamplingOptions sampling_defaults(const std::filesystem::path& model_folder) {
  SamplingOptions sampling;
  const auto path = model_folder / "generation_config.json";
  std::error_code failed;
  if (!std::filesystem::exists(path, failed)) return sampling;
  const nlohmann::json config = nlohmann::json::parse(read_file(path), nullptr, false);
  if (!config.is_object()) {
    throw Error(ErrorCode::Corrupt,
                "generation_config.json: " + path.string() + ": is no JSON object");
  }
  sampling.temperature = number_or(config, "temperature", 1, 0, 100);
  sampling.top_p = number_or(config, "top_p", 1, 1e-6F, 1);
  sampling.top_k = static_cast<std::int64_t>(number_or(config, "top_k", 0, 0, 1e6F));
  sampling.min_p = number_or(config, "min_p", 0, 0, 1);
  sampling.repetition_penalty = number_or(config, "repetition_penalty", 1, 1e-3F, 1e3F);
  if (const auto sample = config.find("do_sample"); sample != config.end() && *sample == false)
    sampling.temperature = 0;
  return sampling;
}

LocalWords read_words(const std::filesystem::path& model_folder) {
  LocalWords words = {.tokenizer = text::Tokenizer::load(model_folder), .chat_template = {}};
  const auto& templates = words.tokenizer.chat_templates();
  if (!templates.empty())
    words.chat_template.emplace(templates.front().text, model_folder.filename().string());
  return words;
}

void require_template(const LocalWords& words, const std::filesystem::path& model_folder) {
  if (words.chat_template) return;
  throw Error(ErrorCode::NotFound,
              "chat template: " + model_folder.string() +
                  ": there is none in tokenizer_config.json or chat_template.jinja; use a model "
                  "made for chats, or complete plain text");
}

LocalBackend::LocalBackend(LoadedModel& loaded, LocalWords words,
                           const LocalBackendOptions& options)
    : loaded_(loaded),
      options_(options),
      words_(std::move(words)),
      engine_(*loaded.model, loaded.engine_options()) {}

LocalBackend::~LocalBackend() = default;

std::string LocalBackend::description() const {
  return loaded_.folder.filename().string() + " on this machine";
}

ChatUsage LocalBackend::send(const std::vector<ChatMessage>& messages,
                             const std::function<void(const ChatDelta&)>& on_delta,
                             const CancelFlag& cancel) {
  require_template(words_, loaded_.folder);
  ChatTemplate::Input input;
  input.messages = nlohmann::ordered_json::array();
  for (const ChatMessage& message : messages)
    input.messages.push_back({{"role", message.role}, {"content", message.content}});
  input.variables["add_generation_prompt"] = true;
  if (words_.tokenizer.bos()) input.variables["bos_token"] = words_.tokenizer.bos()->text;
  if (words_.tokenizer.eos()) input.variables["eos_token"] = words_.tokenizer.eos()->text;
  input.now = local_time_now();
  const std::string prompt = words_.chat_template->render(input);
  const bool inside = prompt.ends_with("<think>\n") || prompt.ends_with("<think>");
  return generate(words_.tokenizer.encode(prompt), inside, on_delta, cancel);
}

ChatUsage LocalBackend::complete(const std::string& prompt,
                                 const std::function<void(const ChatDelta&)>& on_delta,
                                 const CancelFlag& cancel) {
  return generate(words_.tokenizer.encode(prompt, {.add_special_tokens = true}), false, on_delta,
                  cancel);
}

ChatUsage LocalBackend::generate(std::vector<std::int32_t> prompt, bool starts_inside_reasoning,
                                 const std::function<void(const ChatDelta&)>& on_delta,
                                 const CancelFlag& cancel) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const auto since_start = [&] {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  EventQueue events;
  Request request;
  request.prompt = std::move(prompt);
  request.max_tokens = options_.max_tokens;
  request.end_ids = loaded_.description.spec.end_ids;
  request.sampling = options_.sampling;
  const RequestId id =
      engine_.submit(std::move(request), [&](const TokenEvent& event) { events.push(event); });
  text::Detokenizer detokenizer(words_.tokenizer, true);
  text::ReasoningSplitter splitter({.starts_inside = starts_inside_reasoning});
  const auto show = [&](const text::ReasoningPiece& piece) {
    if (!piece.reasoning.empty() || !piece.answer.empty())
      on_delta({piece.reasoning, piece.answer});
  };
  ChatUsage usage;
  for (bool told = false;;) {
    if (cancel.raised() && !told) {
      engine_.cancel(id);
      told = true;
    }
    const auto event = events.pop();
    if (!event) continue;
    if (event->token) {
      if (usage.first_token_seconds == 0) usage.first_token_seconds = since_start();
      const bool is_end_token = event->finish == FinishReason::End;
      if (!is_end_token) show(splitter.push(detokenizer.push(*event->token)));
    }
    if (event->finish == FinishReason::None) continue;
    show(splitter.push(detokenizer.finish()));
    show(splitter.finish());
    if (event->finish == FinishReason::Failed) throw Error(event->error_code, event->error);
    usage.prompt_tokens = event->prompt_tokens;
    usage.completion_tokens = event->generated_tokens;
    usage.total_seconds = since_start();
    usage.cancelled = event->finish == FinishReason::Cancelled;
    if (!usage.cancelled) usage.finish_reason = finish_name(event->finish);
    return usage;
  }
}

}  // namespace krasis
