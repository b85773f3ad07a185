// Router: the table of routes. Every route names its permission as a template argument without a default, so one
// without does not compile; and every route says what it changes, so none can change something without taking an
// idempotency key. Filled before the server starts, then only read, by any thread. Matching knows nothing of
// tokens; the server checks the permission between matching and the handler.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/time.h"
#include "daemon/http/principal.h"
#include "daemon/http/request.h"
#include "daemon/http/websocket_session.h"

namespace freshet::http {

// What a call does to the daemon's state.
enum class Effect : uint8_t {
  kUnsaid,
  kReads,       // nothing: GET, and a question that needs a body
  kRepeatable,  // twice is the same as once: an upload under the digest of its content
  kMutates,     // anything else: a repeated call with the same Idempotency-Key gets the first answer
};

struct RouteOptions {
  size_t body_bytes_max = 1 << 20;            // GET and DELETE take no body at all
  Duration deadline = Duration::seconds(30);  // for the body and the handler; of an upload, for each piece
  std::vector<std::string> query = {};        // names that may appear behind '?'; any other is refused
  Effect effect = Effect::kUnsaid;            // GET reads; every other method has to say it
};

using Handler = std::function<Result<Response>(const Principal&, const Request&)>;
// A handler that keeps its answers under their idempotency keys; the API makes one of every function that changes
// something (api/mutation.h).
struct Mutation {
  Handler handler;
};
using UploadHandler = std::function<Result<std::unique_ptr<UploadSink>>(const Principal&, const Request&)>;

struct Route {
  std::string method;
  std::string pattern;
  Permission permission = Permission::kOperate;
  RouteOptions options;
  // Exactly one is set.
  Handler handler;
  UploadHandler upload;
  WebSocketListener* listener = nullptr;
};

struct RouteMatch {
  const Route* route = nullptr;
  std::map<std::string, std::string> params;
  std::vector<std::string> allowed;  // when no route has the method: the methods that this path has
};

class Router {
 public:
  // One that changes nothing, or the same however often it comes. A method other than GET has to say which (CHECK).
  // A pattern is "/api/v1/runs/{id}/cancel": a {name} takes one whole segment; a last {name*} takes the rest with its
  // slashes. Where several match, the one with the earlier literal segment wins. A wrong or doubled pattern is a
  // programmer's mistake (CHECK), as is kPublic for anything but /metrics, /healthz and /readyz.
  template <Permission kPermission>
  void route(std::string method, std::string pattern, Handler handler, RouteOptions options = {}) {
    check_effect(method, pattern, &options);
    add({std::move(method), std::move(pattern), kPermission, std::move(options), std::move(handler), {}, nullptr});
  }

  // A POST that changes something.
  template <Permission kPermission>
  void mutation(std::string pattern, Mutation mutation, RouteOptions options = {}) {
    options.effect = Effect::kMutates;
    add({"POST", std::move(pattern), kPermission, std::move(options), std::move(mutation.handler), {}, nullptr});
  }

  // The body is not held in memory, and is put under a name that follows from it: `begin` is called when the header is
  // accepted and gives the sink for it.
  template <Permission kPermission>
  void upload(std::string method, std::string pattern, UploadHandler begin, RouteOptions options = {}) {
    options.effect = Effect::kRepeatable;
    add({std::move(method), std::move(pattern), kPermission, std::move(options), {}, std::move(begin), nullptr});
  }

  // The listener outlives the server.
  template <Permission kPermission>
  void websocket(std::string pattern, WebSocketListener& listener, RouteOptions options = {}) {
    options.effect = Effect::kReads;
    add({"GET", std::move(pattern), kPermission, std::move(options), {}, {}, &listener});
  }

  // `path` as it came, still percent-encoded, without the query. invalid_argument: bad encoding, an empty or dot
  // segment, or a control character in it.
  Result<RouteMatch> match(std::string_view method, std::string_view path) const;

  // For tests that walk the table.
  std::vector<const Route*> routes() const;

 private:
  struct Segment {
    enum class Kind { kLiteral, kParam, kRest } kind;
    std::string text;
  };
  struct Entry {
    Route route;
    std::vector<Segment> segments;
  };

  static void check_effect(const std::string& method, const std::string& pattern, RouteOptions* options);
  void add(Route route);
  static std::vector<Segment> parse_pattern(const std::string& pattern);
  static bool matches(const Entry& entry, const std::vector<std::string>& path);
  static bool is_more_literal(const Entry& a, const Entry& b);

  std::vector<std::unique_ptr<Entry>> entries_;
};

// "page_size=20&pipeline=flights" decoded. invalid_argument: bad encoding, a name twice, or one that is not in
// `allowed`.
Result<std::map<std::string, std::string>> parse_query(std::string_view query, const std::vector<std::string>& allowed);

}  // namespace freshet::http
