#include "server/chat_messages.h"

#include <algorithm>
#include <array>
#include <fmt/core.h>
#include <string_view>

namespace krasis::server {
namespace {

constexpr std::array<std::string_view, 6> kRoles = {"system",    "developer", "user",
                                                    "assistant", "tool",      "function"};

std::string join_parts(const Json& parts, const std::string& where) {
  std::string text;
  for (const Json& part : parts) {
    if (!part.is_object())
      refuse(fmt::format("{}.content holds {}, it must hold objects", where, kind_of(part)));
    const std::string type = string(part, "type").value_or("");
    if (type != "text") {
      refuse(where + ".content holds a part of type \"" + type +
             "\", only \"text\" is supported in this version");
    }
    const auto piece = string(part, "text");
    if (!piece) refuse(where + ".content holds a text part without text");
    if (&part != &parts.front()) text += '\n';
    text += *piece;
  }
  return text;
}

// A member that must be an object to be looked into.
Json* object_member(Json& object, const char* name) {
  const auto at = object.find(name);
  return at == object.end() || !at->is_object() ? nullptr : &*at;
}

void parse_arguments(Json& tool_calls, const std::string& where) {
  if (!tool_calls.is_array())
    refuse(where + ".tool_calls is " + kind_of(tool_calls) + ", it must be a list");
  for (Json& call : tool_calls) {
    if (!call.is_object())
      refuse(where + ".tool_calls holds " + kind_of(call) + ", it must hold objects");
    Json* function = object_member(call, "function");
    if (function == nullptr) continue;
    const auto arguments = function->find("arguments");
    if (arguments == function->end() || !arguments->is_string()) continue;
    const auto text = arguments->get<std::string>();
    const bool is_empty = text.find_first_not_of(" \t\r\n") == std::string::npos;
    *arguments = is_empty ? Json::object() : parse_body(text);
  }
}

Json read_message(const Json& message, const std::string& where) {
  if (!message.is_object()) refuse(where + " is " + kind_of(message) + ", it must be an object");
  const auto role = string(message, "role");
  if (!role) refuse(where + ".role is missing");
  if (std::ranges::find(kRoles, *role) == kRoles.end()) {
    refuse(fmt::format("{}.role is \"{}\", it must be system, developer, user, assistant or tool",
                       where, *role));
  }
  Json result = message;
  const Json* tool_calls = find(message, "tool_calls");
  const Json* content = find(message, "content");
  if (content == nullptr) {
    if (*role != "assistant") refuse(where + ".content is missing");
    result["content"] = tool_calls != nullptr ? Json() : Json("");
  } else if (content->is_array()) {
    result["content"] = join_parts(*content, where);
  } else if (!content->is_string()) {
    refuse(where + ".content is " + kind_of(*content) +
           ", it must be a string or a list of text parts");
  }
  if (tool_calls != nullptr) parse_arguments(result["tool_calls"], where);
  return result;
}

}  // namespace

Json read_messages(const Json& body) {
  const Json* messages = find(body, "messages");
  if (messages == nullptr) refuse("messages is missing");
  if (!messages->is_array()) refuse("messages is " + kind_of(*messages) + ", it must be a list");
  if (messages->empty()) refuse("messages is an empty list");
  Json result = Json::array();
  for (std::size_t i = 0; i < messages->size(); ++i)
    result.push_back(read_message((*messages)[i], fmt::format("messages[{}]", i)));
  return result;
}

}  // namespace krasis::server
