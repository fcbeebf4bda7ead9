// From what the user calls a model to the folder it lies in.
#pragma once

#include <filesystem>
#include <string>

namespace krasis {

// `model` is a folder, the file `needed` in it, or a name: a folder in $KRASIS_HOME/models or one
// of the models that come with the program ("demo"). The folder has a file `needed`. Throws
// Error(NotFound) that says where it looked and which models there are.
std::filesystem::path find_model(const std::string& model,
                                 const std::string& needed = "config.json");

}  // namespace krasis
