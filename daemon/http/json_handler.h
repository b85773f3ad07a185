// json_handler(): makes a route's handler from a function over schema messages. The body is proto JSON with unknown
// fields refused, the answer proto JSON; so an endpoint is one function and one row in the route table. Any thread.
#pragma once

#include <google/protobuf/message.h>

#include <concepts>
#include <type_traits>
#include <utility>

#include "daemon/http/principal.h"
#include "daemon/http/request.h"
#include "daemon/http/router.h"

namespace freshet::http {

// invalid_argument names what is wrong. An empty body is an empty message.
Status parse_json_body(const Request& request, google::protobuf::Message* message);
Response json_response(const google::protobuf::Message& message);

// For a request with a body: `function` is Result<Resp>(const Principal&, const Req&), or, where the path or the query
// matters too, Result<Resp>(const Principal&, const Request&, const Req&).
template <std::derived_from<google::protobuf::Message> Req, class Function>
Handler json_handler(Function function) {
  return [function = std::move(function)](const Principal& principal, const Request& request) -> Result<Response> {
    Req message;
    RETURN_IF_ERROR(parse_json_body(request, &message));
    if constexpr (std::is_invocable_v<const Function&, const Principal&, const Request&, const Req&>) {
      ASSIGN_OR_RETURN(auto answer, function(principal, request, std::as_const(message)));
      return json_response(answer);
    } else {
      ASSIGN_OR_RETURN(auto answer, function(principal, std::as_const(message)));
      return json_response(answer);
    }
  };
}

// For one without: `function` is Result<Resp>(const Principal&, const Request&).
template <class Function>
Handler json_handler(Function function) {
  return [function = std::move(function)](const Principal& principal, const Request& request) -> Result<Response> {
    ASSIGN_OR_RETURN(auto answer, function(principal, request));
    return json_response(answer);
  };
}

}  // namespace freshet::http
