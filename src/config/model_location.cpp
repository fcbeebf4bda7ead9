#include "config/model_location.h"

#include <set>
#include <system_error>

#include "base/error.h"
#include "config/home.h"

namespace krasis {

namespace fs = std::filesystem;

namespace {

bool holds(const fs::path& folder, const std::string& file) {
  std::error_code failed;
  return fs::is_regular_file(folder / file, failed);
}

std::string known_models() {
  std::set<std::string> names;
  for (const fs::path& folder : {models_dir(), share_dir() / "models"}) {
    std::error_code failed;
    for (const auto& entry : fs::directory_iterator(folder, failed))
      if (holds(entry.path(), "config.json")) names.insert(entry.path().filename().string());
  }
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

}  // namespace

fs::path find_model(const std::string& model, const std::string& needed) {
  if (model.empty())
    throw Error(ErrorCode::InvalidArgument, "model: no model is named; give a model folder");
  fs::path path = model;
  if (path.filename() == "config.json")
    path = path.parent_path().empty() ? "." : path.parent_path();
  if (holds(path, needed)) return path;
  std::error_code failed;
  if (fs::is_directory(path, failed)) {
    throw Error(ErrorCode::NotFound, "model: " + path.string() + ": has no " + needed +
                                         "; give a folder in the Hugging Face format");
  }
  const bool is_name = model.find('/') == std::string::npos;
  if (is_name) {
    for (const fs::path& folder : {models_dir(), share_dir() / "models"})
      if (!folder.empty() && holds(folder / model, needed)) return folder / model;
  }
  throw Error(ErrorCode::NotFound, "model: \"" + model + "\" is neither a folder nor a model in " +
                                       models_dir().string() +
                                       "; models there and with the program: " + known_models());
}

}  // namespace krasis
