#include "server/served_model.h"

namespace krasis {

ServedModel make_served_model(Engine& engine, const text::Tokenizer& tokenizer,
                              const ChatTemplate* chat_template, const ModelSpec& spec,
                              const std::string& name) {
  ServedModel model;
  model.engine = &engine;
  model.tokenizer = &tokenizer;
  model.chat_template = chat_template;
  model.name = name;
  model.end_ids = spec.end_ids;
  if (tokenizer.eos() && tokenizer.eos()->id) model.end_ids.push_back(*tokenizer.eos()->id);
  if (const std::string* source = tokenizer.chat_template()) {
    model.reasoning = source->find("</think>") != std::string::npos;
    model.developer_role = source->find("developer") != std::string::npos;
  }
  return model;
}

}  // namespace krasis
