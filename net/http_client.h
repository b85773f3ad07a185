// A small blocking HTTP/1.1 client for the CLI and the agent: one kept-alive connection, plain TCP. Owned and called by
// one thread (cancel() alone may come from another). Bodies go out from memory or a file and come in to memory or a
// sink, so an artifact never has to fit into memory. Does not do TLS, redirects, cookies, proxies or compression.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/time.h"

namespace freshet::net {

struct HttpHeader {
  std::string name;
  std::string value;
};

struct HttpRequest {
  std::string method = "GET";
  std::string url;  // "http://127.0.0.1:7070/api/v1/runs"
  std::vector<HttpHeader> headers;
  std::string body;
  std::filesystem::path body_file;  // when set, its bytes are the body
  Duration timeout;                 // for the whole request; 0: the client's default
};

struct HttpResponse {
  int status = 0;
  std::vector<HttpHeader> headers;
  std::string body;

  bool is_ok() const { return status >= 200 && status < 300; }
  // The first header of that name, without regard to case; empty when there is none.
  std::string_view header(std::string_view name) const;
};

// The answer as a Status: ok for 2xx, else the daemon's own code and message where it sent them, else what the number
// says.
Status to_status(const HttpResponse& response);

struct ServerEvent {
  std::string name = "message";
  std::string id;
  std::string data;
};

struct HttpClientOptions {
  std::string bearer_token;  // sent as Authorization unless the request has its own
  Duration connect_timeout = Duration::seconds(5);
  Duration idle_timeout = Duration::seconds(60);      // no byte moved in either direction
  Duration request_timeout = Duration::seconds(120);  // whole request; event streams have none
  size_t response_bytes_max = 64u << 20;              // of a body kept in memory
};

class HttpClient {
 public:
  // Receives pieces of the body of a 2xx answer; any other Status than ok ends the request with it.
  using BodySink = std::function<Status(std::string_view bytes)>;
  // Receives events; false ends the stream (which is then ok).
  using EventSink = std::function<bool(const ServerEvent& event)>;

  explicit HttpClient(HttpClientOptions options = {});
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // An answer of any status is a value; a Status means that there is no answer: unavailable (nothing listens,
  // connection broke), deadline, invalid_argument (the URL), resource_exhausted (body too large). A GET, HEAD, PUT or
  // DELETE whose kept-alive connection turns out closed is sent once more on a new one; so is any request with an
  // Idempotency-Key, also when the connection broke before its answer was whole.
  Result<HttpResponse> request(const HttpRequest& request);

  // The same, with the body of a 2xx answer given to `sink` piece by piece. A body that ends early is unavailable.
  Result<HttpResponse> request(const HttpRequest& request, const BodySink& sink);

  // Reads a text/event-stream until the daemon ends it (ok), the sink ends it (ok) or it breaks. A refusal is the
  // value.
  Result<HttpResponse> stream_events(const HttpRequest& request, const EventSink& sink);

  // Whether the last request may have been acted on although there was no answer: a connection was made for it.
  bool reached() const;

  // Ends the request in progress with `cancelled`, and every later one. Any thread.
  void cancel();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace freshet::net
