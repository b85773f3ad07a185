// A daemon for the tests of the command line: answers what it is told to, and remembers what it was asked. Its own
// thread; each connection carries one request.
#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"

namespace freshet::cli::test {

struct Asked {
  std::string method;
  std::string path;  // without the query
  std::string query;
  std::string token;  // of "Authorization: Bearer"
  std::string idempotency_key;
  std::string body;
};

struct Reply {
  int status = 200;
  std::string body = {};
  std::string type = "application/json";
  std::vector<std::string> headers = {};  // "Name: value"
  bool is_lost = false;                   // the connection closes instead
};

class FakeDaemon {
 public:
  FakeDaemon();
  ~FakeDaemon();

  // The next answer to "GET /api/v1/runs"; the last one given is repeated.
  void on(const std::string& method_and_path, Reply reply);
  void on(const std::string& method_and_path, const google::protobuf::Message& message);
  // Server-sent events named "run", after which the stream ends.
  void on_events(const std::string& path, const std::vector<std::string>& messages);

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::vector<Asked> asked() const;

 private:
  void serve();
  void answer(int fd);

  Fd listener_;
  uint16_t port_ = 0;
  mutable std::mutex mutex_;
  std::map<std::string, std::vector<Reply>> replies_;
  std::vector<Asked> asked_;
  std::thread thread_;
};

}  // namespace freshet::cli::test
