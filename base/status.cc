#include "base/status.h"

#include <cerrno>
#include <cstring>

namespace freshet {
namespace {

// "daemon/store/writer.cc:42": the path below the source root, without the build machine's folders.
std::string place(const std::source_location& where) {
  std::string_view file = where.file_name();
#ifdef FRESHET_SOURCE_DIR
  constexpr std::string_view kRoot = FRESHET_SOURCE_DIR "/";
  if (file.starts_with(kRoot)) file.remove_prefix(kRoot.size());
#endif
  while (file.starts_with("../")) file.remove_prefix(3);  // ccache names files from the build directory
  return std::string(file) + ":" + std::to_string(where.line());
}

}  // namespace

std::string_view code_name(Code code) {
  switch (code) {
    case Code::kOk:
      return "ok";
    case Code::kInvalidArgument:
      return "invalid_argument";
    case Code::kNotFound:
      return "not_found";
    case Code::kAlreadyExists:
      return "already_exists";
    case Code::kConflict:
      return "conflict";
    case Code::kUnauthenticated:
      return "unauthenticated";
    case Code::kPermissionDenied:
      return "permission_denied";
    case Code::kResourceExhausted:
      return "resource_exhausted";
    case Code::kUnavailable:
      return "unavailable";
    case Code::kDeadline:
      return "deadline";
    case Code::kCancelled:
      return "cancelled";
    case Code::kCorrupt:
      return "corrupt";
    case Code::kInternal:
      return "internal";
  }
  return "internal";
}

Status::Status(Code code, std::string message, std::source_location where)
    : code_(code), message_(std::move(message)), where_(place(where)) {}

Status Status::with_context(std::string_view context) const {
  if (is_ok()) return *this;
  Status result = *this;
  result.message_ = std::string(context) + ": " + message_;
  return result;
}

std::string Status::to_string() const {
  if (is_ok()) return "ok";
  return std::string(code_name(code_)) + ": " + message_;
}

#define FRESHET_STATUS_MAKER(name, code) \
  Status name(std::string message, std::source_location where) { return Status(code, std::move(message), where); }
FRESHET_STATUS_MAKER(invalid_argument, Code::kInvalidArgument)
FRESHET_STATUS_MAKER(not_found, Code::kNotFound)
FRESHET_STATUS_MAKER(already_exists, Code::kAlreadyExists)
FRESHET_STATUS_MAKER(conflict, Code::kConflict)
FRESHET_STATUS_MAKER(unauthenticated, Code::kUnauthenticated)
FRESHET_STATUS_MAKER(permission_denied, Code::kPermissionDenied)
FRESHET_STATUS_MAKER(resource_exhausted, Code::kResourceExhausted)
FRESHET_STATUS_MAKER(unavailable, Code::kUnavailable)
FRESHET_STATUS_MAKER(deadline, Code::kDeadline)
FRESHET_STATUS_MAKER(cancelled, Code::kCancelled)
FRESHET_STATUS_MAKER(corrupt, Code::kCorrupt)
FRESHET_STATUS_MAKER(internal, Code::kInternal)
#undef FRESHET_STATUS_MAKER

Status errno_status(std::string_view what, int error, std::source_location where) {
  Code code = Code::kUnavailable;
  if (error == ENOSPC || error == EDQUOT) code = Code::kResourceExhausted;
  if (error == ENOENT) code = Code::kNotFound;
  return Status(code, std::string(what) + ": " + std::strerror(error), where);
}

}  // namespace freshet
