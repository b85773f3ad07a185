// The one place where a Status becomes an HTTP answer. Pure; any thread.
#pragma once

#include "base/status.h"
#include "daemon/http/request.h"

namespace freshet::http {

int http_status_of(Code code);

// {"code":"not_found","message":"..."}. The message of an internal error is kept from the caller: the log has it.
Response error_response(const Status& status);
Response error_response(int http_status, const Status& status);

}  // namespace freshet::http
