// The messages of a chat request, in the form chat templates expect.
#pragma once

#include "server/json_fields.h"

namespace krasis::server {

// body["messages"], checked: a list of objects with a role and a content. Text parts are joined
// with line feeds; parts of another type are refused. An assistant's content may be absent: it
// becomes null beside tool calls and "" otherwise. Arguments of tool calls that are JSON in a
// string become that JSON. Other members are kept as they are.
Json read_messages(const Json& body);

}  // namespace krasis::server
