// Client: one daemon as the commands see it: messages by path, listings with their pages, logs and events. Knows where
// the daemon is and with which token. One thread; every call blocks.
#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "cli/session.h"
#include "net/http_client.h"
#include "proto/api.pb.h"

namespace freshet::cli {

using Query = std::vector<std::pair<std::string, std::string>>;

struct LogPart {
  std::string text;
  uint64_t next_offset = 0;
  bool complete = false;
};

class Client {
 public:
  // The daemon of --server, else FRESHET_SERVER, else DATA_DIR/address; the token of --token-file, else
  // DATA_DIR/admin.token. unavailable when no daemon is known, unauthenticated when there is no token.
  static Result<std::unique_ptr<Client>> open(const Session& session);

  // `path` is below /api/v1/ and already percent-coded (see path_of). Values that are empty are left out of the query.
  Status get(const std::string& path, const Query& query, google::protobuf::Message* answer);
  // With an idempotency key, so that it is safe to send it again after a lost connection, which is done once.
  Status post(const std::string& path, const Query& query, const google::protobuf::Message& body,
              google::protobuf::Message* answer);

  // The pages of a listing as one message, up to `limit` items (0: all).
  template <class Response>
  Result<Response> list(const std::string& path, const Query& query, size_t limit) {
    Response all;
    RETURN_IF_ERROR(list_into(path, query, limit, &all));
    return all;
  }

  Result<LogPart> logs(const std::string& run, const std::string& step, const std::string& stream, uint64_t offset);

  // Calls `sink` with each event until it returns false or the run has ended.
  Status events(const std::string& run, const std::function<bool(const v1::RunEvent&)>& sink);

  const std::string& server() const { return server_; }
  Query in_project(Query more = {}) const;

 private:
  Client(std::string server, std::string token, const Session& session);
  Status list_into(const std::string& path, Query query, size_t limit, google::protobuf::Message* all);
  std::string url(const std::string& path, const Query& query) const;
  Result<net::HttpResponse> checked(Result<net::HttpResponse> response) const;
  Status parse(const net::HttpResponse& response, google::protobuf::Message* answer) const;

  std::string server_;
  std::string project_;
  std::string idempotency_key_;  // given on the command line; empty: drawn for each post
  Random& random_;
  net::HttpClient http_;
};

// "runs", "3f2a", "cancel" -> "runs/3f2a/cancel", each part coded.
std::string path_of(const std::vector<std::string>& parts);

}  // namespace freshet::cli
