#include "app/text_files.h"

#include <cstdio>

#include "base/error.h"
#include "base/file.h"
#include "config/home.h"
#include "text/tokenizer.h"

namespace krasis {

std::vector<std::int32_t> encode_text_file(const std::filesystem::path& model_folder,
                                           const std::filesystem::path& file) {
  const auto path = file.empty() ? share_dir() / "models/demo/heldout.txt" : file;
  const std::string text = read_file(path);
  const auto tokenizer = text::Tokenizer::load(model_folder);
  std::vector<std::int32_t> ids = tokenizer.encode(text);
  if (ids.empty()) throw Error(ErrorCode::InvalidArgument, "text: " + path.string() + ": is empty");
  return ids;
}

std::string read_standard_input() {
  std::string text;
  char piece[65536];
  for (std::size_t got = 0; (got = std::fread(piece, 1, sizeof piece, stdin)) > 0;)
    text.append(piece, got);
  return text;
}

}  // namespace krasis
