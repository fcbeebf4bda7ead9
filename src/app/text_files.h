// Text that commands read: prompts, and the natural text of benchmarks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace krasis {

// Token ids of a text file under a model's tokenizer. An empty `file` is the text that comes with
// krasis. Throws Error(NotFound) if there is none, Error(InvalidArgument) if it is empty.
std::vector<std::int32_t> encode_text_file(const std::filesystem::path& model_folder,
                                           const std::filesystem::path& file);

// All of standard input.
std::string read_standard_input();

}  // namespace krasis
