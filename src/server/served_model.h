// A loaded model with everything that turns requests into tokens and tokens into answers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arch/model_spec.h"
#include "engine/engine.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace krasis {

struct ServedModel {
  // All three outlive the server; chat_template may be null, chat requests are then refused.
  Engine* engine = nullptr;
  const text::Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;

  std::string name;          // as clients call it
  SamplingOptions defaults;  // for what requests leave out
  std::vector<std::int32_t> end_ids;
  bool reasoning = false;       // answers may start with <think> ... </think>
  bool developer_role = false;  // the template knows it; otherwise it is called system
};

// Fills in what follows from the arguments; the caller sets `defaults`.
ServedModel make_served_model(Engine& engine, const text::Tokenizer& tokenizer,
                              const ChatTemplate* chat_template, const ModelSpec& spec,
                              const std::string& name);

}  // namespace krasis
