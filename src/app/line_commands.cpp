// krasis tokenize and krasis render: JSON lines in, JSON lines out.
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "app/command.h"
#include "app/model_options.h"
#include "base/error.h"
#include "base/file.h"
#include "config/model_location.h"
#include "text/render_lines.h"
#include "text/tokenize_lines.h"
#include "text/tokenizer.h"

namespace krasis {
namespace {

// One answer line for each line of standard input.
template <class Answer>
int answer_lines(Answer&& answer) {
  std::string line;
  while (std::getline(std::cin, line)) {
    std::string out = answer(line);
    out += '\n';
    if (std::fwrite(out.data(), 1, out.size(), stdout) != out.size())
      throw Error(ErrorCode::Io, "output: standard output cannot be written");
  }
  if (std::fflush(stdout) != 0)
    throw Error(ErrorCode::Io, "output: standard output cannot be written");
  return kDone;
}

int run_tokenize(const std::string& model) {
  const auto tokenizer = text::Tokenizer::load(find_model(model, "tokenizer.json"));
  return answer_lines(
      [&](const std::string& line) { return text::tokenize_line(tokenizer, line); });
}

struct RenderSource {
  std::string name, source;
  nlohmann::ordered_json defaults = nlohmann::ordered_json::object();  // bos_token, eos_token
};

RenderSource render_source(const std::string& model) {
  if (std::filesystem::is_regular_file(model) && !model.ends_with("config.json"))
    return {.name = model, .source = read_file(model)};
  const auto folder = find_model(model, "tokenizer_config.json");
  const TokenizerConfig config = read_tokenizer_config(folder);
  if (config.chat_templates.empty()) {
    throw Error(ErrorCode::NotFound, "chat template: " + folder.string() +
                                         ": there is none in tokenizer_config.json or "
                                         "chat_template.jinja; give a .jinja file");
  }
  RenderSource found{.name = folder.string(), .source = config.chat_templates.front().text};
  if (config.bos_token) found.defaults["bos_token"] = *config.bos_token;
  if (config.eos_token) found.defaults["eos_token"] = *config.eos_token;
  return found;
}

int run_render(const std::string& model) {
  const RenderSource source = render_source(model);
  const ChatTemplate chat_template(source.source, source.name);
  return answer_lines(
      [&](const std::string& line) { return render_line(chat_template, source.defaults, line); });
}

}  // namespace

void declare_tokenize(CLI::App& command, std::function<int()>& run) {
  auto model = std::make_shared<std::string>();
  add_model_option(command, *model);
  run = [model] { return run_tokenize(*model); };
}

void declare_render(CLI::App& command, std::function<int()>& run) {
  auto model = std::make_shared<std::string>();
  command.add_option("model,--model-path", *model, "model folder, a name, or a .jinja file")
      ->required();
  run = [model] { return run_render(*model); };
}

}  // namespace krasis
