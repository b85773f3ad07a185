#include "agent/network.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/crash_point.h"
#include "base/file.h"
#include "net/http_client.h"
#include "net/url.h"
#include "net/websocket_client.h"
#include "proto/json.h"

namespace freshet::agent {
namespace {

constexpr Duration kTransferTimeout = Duration::seconds(600);

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) text.pop_back();
  return text;
}

struct Endpoint {
  std::string url;
  std::string token;
};

Result<Endpoint> read_endpoint(const NetworkOptions& options) {
  Endpoint endpoint{options.daemon_url, {}};
  if (!options.daemon_file.empty()) {
    ASSIGN_OR_RETURN(std::string url, read_file(options.daemon_file));
    endpoint.url = trimmed(std::move(url));
  }
  while (endpoint.url.ends_with('/')) endpoint.url.pop_back();
  ASSIGN_OR_RETURN(std::string token, read_file(options.token_file));
  endpoint.token = trimmed(std::move(token));
  return endpoint;
}

class WebSocketChannel final : public AgentChannel {
 public:
  explicit WebSocketChannel(std::unique_ptr<net::WebSocketClient> client) : client_(std::move(client)) {}
  Status send(const v1::AgentFrame& frame) override { return client_->send(frame.SerializeAsString()); }

 private:
  std::unique_ptr<net::WebSocketClient> client_;
};

class HttpTransfer final : public ArtifactTransfer {
 public:
  explicit HttpTransfer(NetworkOptions options) : options_(std::move(options)) {}

  Result<std::string> get_manifest(const std::string& digest) override {
    ASSIGN_OR_RETURN(net::HttpRequest request, make_request("GET", "artifacts/" + digest + "/manifest"));
    ASSIGN_OR_RETURN(net::HttpResponse response, client_.request(request));
    RETURN_IF_ERROR(net::to_status(response));
    return std::move(response.body);
  }

  Status get_file(const std::string& digest, const std::string& name, const std::filesystem::path& to) override {
    ASSIGN_OR_RETURN(net::HttpRequest request,
                     make_request("GET", "artifacts/" + digest + "/files/" + encode_path(name)));
    Fd file(::open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!file.is_open()) return errno_status("create " + to.string(), errno);
    ASSIGN_OR_RETURN(net::HttpResponse response, client_.request(request, [&](std::string_view bytes) {
      return write_all(file.get(), bytes.data(), bytes.size()).with_context(to.string());
    }));
    RETURN_IF_ERROR(net::to_status(response));
    CRASH_POINT("cache.file.before_sync");
    if (::fsync(file.get()) != 0) return errno_status("fsync " + to.string(), errno);
    CRASH_POINT("cache.file.after_sync");
    return Status::ok();
  }

  Status put_file(const std::string& sha256, const std::filesystem::path& from) override {
    return put("artifact-files/" + sha256, from, "application/octet-stream");
  }

  Status put_manifest(const std::string& digest, const std::filesystem::path& from) override {
    return put("artifacts/" + digest + "/manifest", from, "application/json");
  }

  void cancel() override { client_.cancel(); }

 private:
  // The slashes in a file's name stay slashes.
  static std::string encode_path(const std::string& name) {
    std::string encoded;
    for (size_t at = 0; at <= name.size();) {
      size_t end = std::min(name.find('/', at), name.size());
      encoded += (at == 0 ? "" : "/") + net::percent_encode(name.substr(at, end - at));
      at = end + 1;
    }
    return encoded;
  }

  Result<net::HttpRequest> make_request(const std::string& method, const std::string& path) {
    ASSIGN_OR_RETURN(Endpoint endpoint, read_endpoint(options_));
    net::HttpRequest request;
    request.method = method;
    request.url = endpoint.url + "/api/v1/" + path;
    request.headers.push_back({"Authorization", "Bearer " + endpoint.token});
    request.timeout = kTransferTimeout;
    return request;
  }

  Status put(const std::string& path, const std::filesystem::path& from, const std::string& type) {
    ASSIGN_OR_RETURN(net::HttpRequest request, make_request("PUT", path));
    request.headers.push_back({"Content-Type", type});
    request.body_file = from;
    ASSIGN_OR_RETURN(net::HttpResponse response, client_.request(request));
    return net::to_status(response);
  }

  NetworkOptions options_;
  net::HttpClient client_;
};

class RealNetwork final : public DaemonNetwork {
 public:
  explicit RealNetwork(NetworkOptions options) : options_(std::move(options)) {}

  Result<std::unique_ptr<AgentChannel>> connect(ChannelCallbacks callbacks) override {
    ASSIGN_OR_RETURN(Endpoint endpoint, read_endpoint(options_));
    net::WebSocketOptions options;
    options.url = endpoint.url + "/api/v1/agents/connect";
    options.bearer_token = endpoint.token;
    options.frame_bytes_max = kFrameMax;
    net::WebSocketCallbacks hooks;
    hooks.on_message = [on_frame = std::move(callbacks.on_frame)](std::string bytes) {
      v1::DaemonFrame frame;
      // An unset frame is what the agent answers a stranger's bytes with as well: it ends the connection.
      if (!frame.ParseFromString(bytes)) frame.Clear();
      on_frame(std::move(frame));
    };
    hooks.on_close = std::move(callbacks.on_close);
    ASSIGN_OR_RETURN(auto client, net::WebSocketClient::connect(std::move(options), std::move(hooks)));
    return std::unique_ptr<AgentChannel>(std::make_unique<WebSocketChannel>(std::move(client)));
  }

  std::unique_ptr<ArtifactTransfer> make_transfer() override { return std::make_unique<HttpTransfer>(options_); }

 private:
  static constexpr size_t kFrameMax = 64u << 20;
  NetworkOptions options_;
};

}  // namespace

std::unique_ptr<DaemonNetwork> make_network(NetworkOptions options) {
  return std::make_unique<RealNetwork>(std::move(options));
}

}  // namespace freshet::agent
