// What a handler sees and gives: Request, Response and the bodies that are not held in memory. No word of sockets or
// Beast, so that api/ and control/ stay free of them. A Request is immutable while its handler runs (on a worker
// thread); nothing in it may be kept afterwards.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace freshet::http {

struct Request {
  std::string method;
  std::string path;                           // decoded
  std::map<std::string, std::string> params;  // of the pattern: {"id", "3f..."}; decoded, never empty
  std::map<std::string, std::string> query;   // decoded; only names that the route lists
  std::string body;
  std::optional<uint64_t> body_size;  // announced, of an upload
  std::string peer;                   // address without port
  std::string last_event_id;          // of a reader of events that comes back
  std::string idempotency_key;        // as it came; empty: none

  // A parameter of the route's pattern; a programmer's mistake (CHECK) when the pattern has none of that name.
  const std::string& param(const std::string& name) const;
  // A query value, or `otherwise`.
  std::string query_or(const std::string& name, std::string otherwise) const;
  // invalid_argument unless it is a decimal number of at most `max`.
  Result<uint64_t> query_number(const std::string& name, uint64_t otherwise, uint64_t max) const;
};

// A body that the server pulls piece by piece on the worker pool, one call at a time.
class StreamBody {
 public:
  struct Piece {
    std::string bytes;  // empty and not last: nothing now, ask again after a wake-up or half a second
    bool is_last = false;
  };
  virtual ~StreamBody() = default;
  // A Status breaks the connection (the answer has begun, so there is no other way to tell); it is logged.
  virtual Result<Piece> next() = 0;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::unique_ptr<StreamBody> stream;   // instead of `body`
  std::optional<uint64_t> stream_size;  // known: Content-Length, else chunked
  bool is_event_stream = false;         // comments keep a silent stream alive
};

Response text_response(std::string text, std::string content_type = "text/plain; charset=utf-8");

// The file from its beginning, read on the worker pool. not_found when it is not there; a file that shrinks meanwhile
// breaks the connection.
Result<Response> file_response(const std::filesystem::path& path,
                               std::string content_type = "application/octet-stream");

// Server-sent events.
struct Event {
  std::string name;  // empty: "message"
  std::string id;    // comes back as Request::last_event_id after a reconnect
  std::string data;
};
struct Events {
  std::vector<Event> events;
  bool is_last = false;  // the stream ends behind them
};
// Called on the worker pool at once, whenever HttpServer::wake_streams() is called, and at least every half second;
// gives what is new since its last call. It holds its own cursor.
using EventPoll = std::function<Result<Events>()>;
Response event_response(EventPoll poll);

// Where the body of an upload goes, piece by piece, on the worker pool. Dropped without finish() (by any thread) when
// the client goes away or the body is too large: then it must leave nothing behind.
class UploadSink {
 public:
  virtual ~UploadSink() = default;
  virtual Status append(std::string_view bytes) = 0;
  virtual Result<Response> finish() = 0;
};

}  // namespace freshet::http
