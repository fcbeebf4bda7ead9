// `krasis render`: one JSON line in, one JSON line out, to compare with other programs.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "text/chat_template.h"

namespace krasis {

// {"messages", "tools", "kwargs", "now"} to {"rendered"} or {"error"}; never throws Error.
// All but messages may be left out. kwargs become variables and come before `defaults` (an object,
// for example bos_token and eos_token of the model). now: "YYYY-MM-DDTHH:MM:SS[.ffffff]", this
// machine's local time without it.
std::string render_line(const ChatTemplate& chat_template, const nlohmann::ordered_json& defaults,
                        std::string_view line);

}  // namespace krasis
