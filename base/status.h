// Status and Result<T>: the one error type of Freshet. A Status carries a code that a program can act on, a message
// that tells the caller what to change, and the place that made it. Modules add context, never codes. Values are
// immutable and may cross threads. Exceptions of libraries become a Status where the library is called.
#pragma once

#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/check.h"

namespace freshet {

enum class Code {
  kOk,
  kInvalidArgument,    // the caller must change the request
  kNotFound,           // the named thing does not exist
  kAlreadyExists,      // a create met an existing thing
  kConflict,           // a precondition no longer holds; read again and retry
  kUnauthenticated,    // no valid credential
  kPermissionDenied,   // a valid credential that may not do this
  kResourceExhausted,  // disk, quota or queue is full
  kUnavailable,        // try again later; nothing was changed
  kDeadline,           // took too long
  kCancelled,          // somebody asked to stop
  kCorrupt,            // stored or received bytes are not what was written
  kInternal,           // a mistake in Freshet
};

// The lower-case name of a code, as it appears in JSON and logs: "invalid_argument".
std::string_view code_name(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message, std::source_location where = std::source_location::current());

  static Status ok() { return {}; }

  bool is_ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }
  const std::string& where() const { return where_; }

  // The same status with "context: " put in front of its message; an ok status stays ok.
  Status with_context(std::string_view context) const;
  // "invalid_argument: message", for logs and the command line.
  std::string to_string() const;

 private:
  Code code_ = Code::kOk;
  std::string message_;
  std::string where_;
};

Status invalid_argument(std::string message, std::source_location where = std::source_location::current());
Status not_found(std::string message, std::source_location where = std::source_location::current());
Status already_exists(std::string message, std::source_location where = std::source_location::current());
Status conflict(std::string message, std::source_location where = std::source_location::current());
Status unauthenticated(std::string message, std::source_location where = std::source_location::current());
Status permission_denied(std::string message, std::source_location where = std::source_location::current());
Status resource_exhausted(std::string message, std::source_location where = std::source_location::current());
Status unavailable(std::string message, std::source_location where = std::source_location::current());
Status deadline(std::string message, std::source_location where = std::source_location::current());
Status cancelled(std::string message, std::source_location where = std::source_location::current());
Status corrupt(std::string message, std::source_location where = std::source_location::current());
Status internal(std::string message, std::source_location where = std::source_location::current());

// A Status made of errno after a failed system call: "open /x: Permission denied". ENOSPC and EDQUOT become
// resource_exhausted, ENOENT not_found, all else unavailable.
Status errno_status(std::string_view what, int error, std::source_location where = std::source_location::current());

// Either a value or the Status that says why there is none (never an ok Status).
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}
  Result(Status status) : state_(std::move(status)) { CHECK(!std::get<Status>(state_).is_ok()); }

  bool is_ok() const { return std::holds_alternative<T>(state_); }
  Status status() const { return is_ok() ? Status::ok() : std::get<Status>(state_); }

  // The value; a programmer's mistake (CHECK) when there is none.
  T& value() & {
    CHECK(is_ok());
    return std::get<T>(state_);
  }
  const T& value() const& {
    CHECK(is_ok());
    return std::get<T>(state_);
  }
  T&& value() && {
    CHECK(is_ok());
    return std::get<T>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  Result with_context(std::string_view context) && {
    if (is_ok()) return std::move(*this);
    return std::get<Status>(state_).with_context(context);
  }

 private:
  std::variant<T, Status> state_;
};

}  // namespace freshet

#define FRESHET_CONCAT_INNER(a, b) a##b
#define FRESHET_CONCAT(a, b) FRESHET_CONCAT_INNER(a, b)

// Returns the Status from the enclosing function when `expr` (a Status) is not ok.
#define RETURN_IF_ERROR(expr)                                                                      \
  do {                                                                                             \
    if (::freshet::Status freshet_status = (expr); !freshet_status.is_ok()) return freshet_status; \
  } while (false)

// Declares `lhs` from a Result, or returns its Status: ASSIGN_OR_RETURN(auto file, open(path));
#define ASSIGN_OR_RETURN(lhs, expr) FRESHET_ASSIGN_OR_RETURN(lhs, expr, FRESHET_CONCAT(freshet_result_, __LINE__))
#define FRESHET_ASSIGN_OR_RETURN(lhs, expr, tmp) \
  auto tmp = (expr);                             \
  if (!tmp.is_ok()) return tmp.status();         \
  lhs = std::move(tmp).value()
