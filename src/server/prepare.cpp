#include "server/prepare.h"

#include <fmt/core.h>
#include <utility>

#include "base/error.h"

namespace krasis::server {
namespace {

struct Prompt {
  TokenIds ids;
  std::string echo;
  bool starts_inside_reasoning = false;
};

struct Parsed {
  GenerationOptions options;
  std::vector<Prompt> prompts;
};

void check_model(const GenerationOptions& options, const ServedModel& model) {
  if (!options.model || *options.model == model.name) return;
  throw Error(ErrorCode::NotFound, fmt::format("request: there is no model \"{}\" here, this "
                                               "server has \"{}\"",
                                               *options.model, model.name));
}

bool ends_with_opened_reasoning(std::string_view rendered) {
  const std::size_t last = rendered.find_last_not_of(" \t\r\n");
  return last != std::string_view::npos && rendered.substr(0, last + 1).ends_with("<think>");
}

Json template_variables(const ChatRequest& request, const ServedModel& model) {
  Json variables = {{"add_generation_prompt", true}};
  const auto add = [&](const char* name, const std::optional<text::NamedToken>& token) {
    if (token) variables[name] = token->text;
  };
  add("bos_token", model.tokenizer->bos());
  add("eos_token", model.tokenizer->eos());
  add("pad_token", model.tokenizer->pad());
  add("unk_token", model.tokenizer->unk());
  variables.update(request.template_kwargs);
  return variables;
}

Parsed parse_chat(const std::string& body, const ServedModel& model) {
  ChatRequest request = parse_chat_request(body, model.defaults);
  check_model(request.options, model);
  if (model.chat_template == nullptr) {
    refuse(
        "model \"" + model.name +
        "\" has no chat template; use /v1/completions, or add chat_template.jinja to its folder");
  }
  if (!model.developer_role) {
    for (Json& message : request.messages)
      if (message["role"] == "developer") message["role"] = "system";
  }
  ChatTemplate::Input input{.messages = std::move(request.messages),
                            .tools = nullptr,
                            .variables = template_variables(request, model),
                            .now = local_time_now()};
  const std::string rendered = model.chat_template->render(input);
  Parsed parsed{.options = std::move(request.options), .prompts = {}};
  // The template has written the special tokens that stand around a conversation.
  parsed.prompts.push_back(
      {.ids = model.tokenizer->encode(rendered),
       .echo = "",
       .starts_inside_reasoning = model.reasoning && ends_with_opened_reasoning(rendered)});
  return parsed;
}

Parsed parse_completion(const std::string& body, const ServedModel& model) {
  CompletionRequest request = parse_completion_request(body, model.defaults);
  check_model(request.options, model);
  Parsed parsed{.options = std::move(request.options), .prompts = {}};
  for (auto& given : request.prompts) {
    Prompt prompt;
    if (auto* ids = std::get_if<TokenIds>(&given)) {
      prompt.ids = std::move(*ids);
      if (request.echo) prompt.echo = model.tokenizer->decode(prompt.ids, true);
    } else {
      const auto& text = std::get<std::string>(given);
      prompt.ids = model.tokenizer->encode(text, {.add_special_tokens = true});
      if (request.echo) prompt.echo = text;
    }
    parsed.prompts.push_back(std::move(prompt));
  }
  return parsed;
}

Request engine_request(const Prompt& prompt, std::int64_t choice, const GenerationOptions& options,
                       const ServedModel& model) {
  Request request{.prompt = prompt.ids,
                  .max_tokens = options.max_tokens,
                  .end_ids = model.end_ids,
                  .ignore_end = false,
                  .sampling = options.sampling};
  // The choices of one prompt are different answers.
  if (request.sampling.seed) *request.sampling.seed += static_cast<std::uint64_t>(choice);
  return request;
}

}  // namespace

bool Places::try_take(std::int64_t count) {
  std::int64_t taken = taken_.load();
  do {
    // A single request with many choices may be larger than the limit; it is served alone.
    if (taken > 0 && taken + count > limit_) return false;
  } while (!taken_.compare_exchange_weak(taken, taken + count));
  return true;
}

Choices::Choices(Choices&& other) noexcept
    : places_(std::exchange(other.places_, nullptr)),
      taken_(std::exchange(other.taken_, 0)),
      all_(std::move(other.all_)) {}

Choices& Choices::operator=(Choices&& other) noexcept {
  std::swap(places_, other.places_);
  std::swap(taken_, other.taken_);
  std::swap(all_, other.all_);
  return *this;
}

Choices::~Choices() {
  for (const auto& generation : all_) generation->abandon();
  if (places_ != nullptr) places_->give_back(taken_);
}

PrepareResult prepare(Endpoint endpoint, const std::string& body, const ServedModel& model,
                      Places& places, const std::function<void()>& wake) {
  Parsed parsed =
      endpoint == Endpoint::Chat ? parse_chat(body, model) : parse_completion(body, model);
  const auto count = static_cast<std::int64_t>(parsed.prompts.size()) * parsed.options.choices;
  PrepareResult result;
  if (!places.try_take(count)) {
    result.full = true;
    return result;
  }
  result.prepared.choices = Choices(places, count);
  for (const Prompt& prompt : parsed.prompts) {
    result.prepared.prompt_tokens += static_cast<std::int64_t>(prompt.ids.size());
    for (std::int64_t choice = 0; choice < parsed.options.choices; ++choice) {
      auto generation = std::make_shared<Generation>(
          *model.engine, *model.tokenizer,
          AnswerOptions{.stops = parsed.options.stops,
                        .reasoning = model.reasoning && endpoint == Endpoint::Chat,
                        .starts_inside = prompt.starts_inside_reasoning,
                        .logprobs = parsed.options.sampling.logprobs});
      result.prepared.choices.add(generation);
      result.prepared.echo.push_back(prompt.echo);
      generation->start(engine_request(prompt, choice, parsed.options, model),
                        parsed.options.stream, wake);
    }
  }
  result.prepared.options = std::move(parsed.options);
  return result;
}

}  // namespace krasis::server
