// submit_load: submits runs over kept-alive HTTP connections, one thread each, and prints how it went as one line of
// JSON: how many were acknowledged, in how long, and the spread of the latencies. Blocking sockets and nothing of the
// daemon's own code, so that what is measured is the daemon. Exits with 1 when any answer was not a run.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using SteadyClock = std::chrono::steady_clock;

struct Options {
  std::string host;
  uint16_t port = 0;
  std::string token_file;
  std::string pipeline;
  std::string ids_file;  // empty: the ids are not kept
  size_t connections = 1;
  double seconds = 0;
  uint64_t count = 0;  // of all connections together; 0: until the time is over
  double pause_ms = 0;
};

struct Connection {
  std::vector<std::string> ids;
  std::vector<double> milliseconds;
  std::string error;
};

bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

// Reads one answer with a Content-Length; empty when the connection broke.
std::string read_answer(int fd, std::string* buffer) {
  constexpr std::string_view kLength = "content-length:";
  for (;;) {
    size_t end = buffer->find("\r\n\r\n");
    if (end != std::string::npos) {
      std::string head = buffer->substr(0, end);
      std::transform(head.begin(), head.end(), head.begin(), [](unsigned char c) { return std::tolower(c); });
      size_t length_at = head.find(kLength);
      size_t length =
          length_at == std::string::npos ? 0 : std::strtoul(head.c_str() + length_at + kLength.size(), nullptr, 10);
      if (buffer->size() >= end + 4 + length) {
        std::string answer = buffer->substr(0, end + 4 + length);
        buffer->erase(0, answer.size());
        return answer;
      }
    }
    char piece[16384];
    ssize_t got = ::recv(fd, piece, sizeof piece, 0);
    if (got <= 0) return "";
    buffer->append(piece, static_cast<size_t>(got));
  }
}

std::string id_of(const std::string& answer) {
  constexpr std::string_view kId = "\"id\":\"";
  size_t at = answer.find(kId);
  return at == std::string::npos ? "" : answer.substr(at + kId.size(), 32);
}

int connect_to(const Options& options) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(options.port);
  ::inet_pton(AF_INET, options.host.c_str(), &address.sin_addr);
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    ::close(fd);
    return -1;
  }
  int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

void submit_many(const Options& options, const std::string& token, size_t number, SteadyClock::time_point end,
                 Connection* connection) {
  int fd = connect_to(options);
  if (fd < 0) {
    connection->error = "no connection";
    return;
  }
  const uint64_t share = options.count / options.connections + (number < options.count % options.connections ? 1 : 0);
  const std::string body = "{\"pipeline\":\"" + options.pipeline + "\"}";
  const std::string request = "POST /api/v1/runs HTTP/1.1\r\nHost: " + options.host + ":" +
                              std::to_string(options.port) + "\r\nAuthorization: Bearer " + token +
                              "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
                              "\r\n\r\n" + body;
  std::string buffer;
  for (uint64_t i = 0; options.count == 0 || i < share; ++i) {
    auto begin = SteadyClock::now();
    if (options.count == 0 && begin >= end) break;
    std::string answer = send_all(fd, request) ? read_answer(fd, &buffer) : "";
    std::chrono::duration<double, std::milli> took = SteadyClock::now() - begin;
    std::string id = id_of(answer);
    if (!answer.starts_with("HTTP/1.1 200") || id.size() != 32) {
      connection->error = answer.empty() ? "the connection broke" : answer.substr(0, 400);
      break;
    }
    connection->milliseconds.push_back(took.count());
    connection->ids.push_back(std::move(id));
    if (options.pause_ms > 0) std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(options.pause_ms));
  }
  ::close(fd);
}

double percentile(const std::vector<double>& sorted, double share) {
  if (sorted.empty()) return 0;
  return sorted[std::min(sorted.size() - 1, static_cast<size_t>(share * static_cast<double>(sorted.size())))];
}

bool parse(int argc, char** argv, Options* options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i], value = argv[i + 1];
    if (name == "--url") {
      std::string_view rest = value;
      if (!rest.starts_with("http://") || rest.find(':', 7) == std::string_view::npos) return false;
      rest.remove_prefix(7);
      options->host = rest.substr(0, rest.find(':'));
      options->port =
          static_cast<uint16_t>(std::strtoul(std::string(rest.substr(rest.find(':') + 1)).c_str(), nullptr, 10));
    } else if (name == "--token-file") {
      options->token_file = value;
    } else if (name == "--pipeline") {
      options->pipeline = value;
    } else if (name == "--ids") {
      options->ids_file = value;
    } else if (name == "--connections") {
      options->connections = std::strtoul(value.c_str(), nullptr, 10);
    } else if (name == "--seconds") {
      options->seconds = std::strtod(value.c_str(), nullptr);
    } else if (name == "--count") {
      options->count = std::strtoul(value.c_str(), nullptr, 10);
    } else if (name == "--pause-ms") {
      options->pause_ms = std::strtod(value.c_str(), nullptr);
    } else {
      return false;
    }
  }
  return argc % 2 == 1 && options->port != 0 && options->connections > 0 && !options->pipeline.empty() &&
         (options->seconds > 0 || options->count > 0);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, &options)) {
    std::fprintf(stderr,
                 "usage: submit_load --url http://127.0.0.1:PORT --token-file FILE --pipeline NAME [--connections N] "
                 "(--seconds S | --count N) [--pause-ms MS] [--ids FILE]\n");
    return 2;
  }
  std::string token;
  std::getline(std::ifstream(options.token_file) >> std::ws, token);
  std::vector<Connection> connections(options.connections);
  std::vector<std::thread> threads;
  auto begin = SteadyClock::now();
  auto end = begin + std::chrono::microseconds(static_cast<int64_t>(options.seconds * 1e6));
  for (size_t i = 0; i < connections.size(); ++i) {
    threads.emplace_back(submit_many, std::cref(options), std::cref(token), i, end, &connections[i]);
  }
  for (auto& thread : threads) thread.join();
  const std::chrono::duration<double> took = SteadyClock::now() - begin;

  std::vector<double> all;
  std::ofstream ids(options.ids_file.empty() ? "/dev/null" : options.ids_file, std::ios::app);
  std::string error;
  for (const Connection& connection : connections) {
    all.insert(all.end(), connection.milliseconds.begin(), connection.milliseconds.end());
    for (const std::string& id : connection.ids) ids << id << "\n";
    if (!connection.error.empty()) error = connection.error;
  }
  std::sort(all.begin(), all.end());
  if (!error.empty()) std::fprintf(stderr, "submit_load: %s\n", error.c_str());
  std::printf("{\"acknowledged\": %zu, \"seconds\": %.6f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}\n",
              all.size(), took.count(), percentile(all, 0.5), percentile(all, 0.99), all.empty() ? 0 : all.back());
  return error.empty() ? 0 : 1;
}
