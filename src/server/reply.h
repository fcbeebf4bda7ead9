// Building HTTP responses. Every one carries what browsers ask for when a page of another origin
// calls the server.
#pragma once

#include <boost/beast/http.hpp>
#include <string>
#include <utility>

#include "server/api_error.h"

namespace krasis::server {

namespace http = boost::beast::http;
using Reply = http::response<http::string_body>;

// For any body type.
template <class Body>
void set_common_fields(http::response<Body>& response, bool keep_alive) {
  response.set(http::field::server, "krasis");
  response.set(http::field::access_control_allow_origin, "*");
  response.keep_alive(keep_alive);
}

Reply json_reply(unsigned status, std::string body, const http::request_header<>& request,
                 bool keep_alive);
Reply error_reply(const ApiError& error, const http::request_header<>& request, bool keep_alive);

// 204 with what the page may send: the answer to a browser's OPTIONS.
Reply preflight_reply(const http::request_header<>& request, bool keep_alive);

}  // namespace krasis::server
