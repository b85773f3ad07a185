#include "daemon/http/json_handler.h"

#include "proto/json.h"

namespace freshet::http {

Status parse_json_body(const Request& request, google::protobuf::Message* message) {
  if (request.body.empty()) return Status::ok();
  return from_json(request.body, message).with_context("the body");
}

Response json_response(const google::protobuf::Message& message) {
  Response response;
  response.body = to_json(message);
  response.body += '\n';
  return response;
}

}  // namespace freshet::http
