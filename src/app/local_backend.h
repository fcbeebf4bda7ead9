// Answers in this process: an engine with its tokenizer and chat template.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "app/model_options.h"
#include "chat/backend.h"
#include "engine/engine.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace krasis {

// What generation_config.json recommends (temperature, top_p, top_k, min_p, repetition_penalty);
// greedy where it says do_sample false, temperature 1 where it says nothing. Values that no sampler
// can use are an Error(Corrupt) naming the key.
SamplingOptions sampling_defaults(const std::filesystem::path& model_folder);

// What turns messages into tokens and tokens into words: files beside the weights.
struct LocalWords {
  text::Tokenizer tokenizer;
  std::optional<ChatTemplate> chat_template;  // the model's default one
};
LocalWords read_words(const std::filesystem::path& model_folder);

// Throws Error(NotFound) if there is none.
void require_template(const LocalWords& words, const std::filesystem::path& model_folder);

struct LocalBackendOptions {
  std::int64_t max_tokens = 0;  // of one answer; 0: as the context allows
  SamplingOptions sampling;
};

class LocalBackend final : public ChatBackend {
 public:
  // `loaded` outlives the backend.
  LocalBackend(LoadedModel& loaded, LocalWords words, const LocalBackendOptions& options);
  ~LocalBackend() override;

  std::string description() const override;
  ChatUsage send(const std::vector<ChatMessage>& messages,
                 const std::function<void(const ChatDelta&)>& on_delta,
                 const CancelFlag& cancel) override;

  // Continues a text as it is, without a template.
  ChatUsage complete(const std::string& prompt,
                     const std::function<void(const ChatDelta&)>& on_delta,
                     const CancelFlag& cancel);

 private:
  ChatUsage generate(std::vector<std::int32_t> prompt, bool starts_inside_reasoning,
                     const std::function<void(const ChatDelta&)>& on_delta,
                     const CancelFlag& cancel);

  LoadedModel& loaded_;
  LocalBackendOptions options_;
  LocalWords words_;
  Engine engine_;
};

}  // namespace krasis
