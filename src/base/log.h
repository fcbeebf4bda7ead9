// One line a message on standard error, area first: log::info("engine: prefill 512 tokens in 0.4
// s"). Folders below engine/ do not log, they throw or return. Prompts and keys are never logged.
#pragma once

#include <string_view>

namespace krasis::log {

enum class Level { Debug, Info, Warning, Error, Off };

void set_level(Level level);  // Info at start
void debug(std::string_view line);
void info(std::string_view line);
void warning(std::string_view line);
void error(std::string_view line);

}  // namespace krasis::log
