#include "daemon/http/status_mapping.h"

#include "daemon/http/json_handler.h"
#include "proto/api.pb.h"

namespace freshet::http {

int http_status_of(Code code) {
  switch (code) {
    case Code::kOk:
      return 200;
    case Code::kInvalidArgument:
      return 400;
    case Code::kUnauthenticated:
      return 401;
    case Code::kPermissionDenied:
      return 403;
    case Code::kNotFound:
      return 404;
    case Code::kAlreadyExists:
      return 409;
    case Code::kConflict:
      return 409;
    case Code::kCancelled:
      return 499;
    case Code::kCorrupt:
      return 500;
    case Code::kInternal:
      return 500;
    case Code::kUnavailable:
      return 503;
    case Code::kDeadline:
      return 504;
    case Code::kResourceExhausted:
      return 507;
  }
  CHECK_MSG(false, "unknown code");
}

Response error_response(const Status& status) { return error_response(http_status_of(status.code()), status); }

Response error_response(int http_status, const Status& status) {
  v1::ErrorResponse error;
  error.set_code(std::string(code_name(status.code())));
  error.set_message(status.code() == Code::kInternal ? "a mistake in Freshet; the daemon's log has the cause"
                                                     : status.message());
  Response response = json_response(error);
  response.status = http_status;
  return response;
}

}  // namespace freshet::http
