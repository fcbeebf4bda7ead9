#include "server/reply.h"

namespace krasis::server {

Reply json_reply(unsigned status, std::string body, const http::request_header<>& request,
                 bool keep_alive) {
  Reply reply(http::int_to_status(status), request.version());
  set_common_fields(reply, keep_alive);
  reply.set(http::field::content_type, "application/json");
  const std::size_t bytes = body.size();
  if (request.method() != http::verb::head) reply.body() = std::move(body);
  reply.content_length(bytes);  // HEAD: of what GET would have answered
  return reply;
}

Reply error_reply(const ApiError& error, const http::request_header<>& request, bool keep_alive) {
  Reply reply =
      json_reply(static_cast<unsigned>(error.status), error_body(error), request, keep_alive);
  if (error.status == 401) reply.set(http::field::www_authenticate, "Bearer");
  if (error.status == 429 || error.status == 503) reply.set(http::field::retry_after, "1");
  return reply;
}

Reply preflight_reply(const http::request_header<>& request, bool keep_alive) {
  Reply reply(http::status::no_content, request.version());
  set_common_fields(reply, keep_alive);
  reply.set(http::field::access_control_allow_methods, "GET, HEAD, POST, OPTIONS");
  const auto asked = request.find(http::field::access_control_request_headers);
  reply.set(http::field::access_control_allow_headers,
            asked != request.end() ? asked->value()
                                   : boost::beast::string_view("Authorization, Content-Type"));
  reply.set(http::field::access_control_max_age, "86400");
  return reply;
}

}  // namespace krasis::server
