// What every connection of the server shares. Private to the server. Immutable but for the registry of connections,
// which any IO thread may call.
#pragma once

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "daemon/async/task_group.h"
#include "daemon/async/worker_pool.h"
#include "daemon/http/authenticator.h"
#include "daemon/http/http_metrics.h"
#include "daemon/http/http_server.h"
#include "daemon/http/router.h"

namespace freshet::http {

// What the server can ask of a connection or WebSocket; the calls may come from any thread.
class Served {
 public:
  virtual ~Served() = default;
  virtual void drain() = 0;        // end as soon as it is decent
  virtual void wake_stream() = 0;  // ask your stream again
};

struct ServerCore {
  ServerCore(HttpServerOptions o, const Router& r, Authenticator& a, async::WorkerPool& p, HttpMetrics* m)
      : options(std::move(o)), router(r), authenticator(a), pool(p), metrics(m) {}

  HttpServerOptions options;
  const Router& router;
  Authenticator& authenticator;
  async::WorkerPool& pool;
  HttpMetrics* metrics;
  std::vector<std::string> hosts;
  async::TaskGroup tasks{"http"};

  std::mutex mutex;
  struct Entry {
    std::weak_ptr<Served> one;
    std::string peer;
  };
  std::map<uint64_t, Entry> served;       // guarded by mutex
  std::map<std::string, size_t> of_peer;  // guarded by mutex: how many there are of each
  uint64_t next_id = 1;                   // guarded by mutex
  bool is_draining = false;               // guarded by mutex

  // 0: the server is stopping, or there are too many, in all or of this peer.
  uint64_t add(const std::shared_ptr<Served>& one, const std::string& peer) {
    std::lock_guard lock(mutex);
    if (is_draining || served.size() >= options.connections_max) return 0;
    auto known = of_peer.find(peer);
    if (known != of_peer.end() && known->second >= options.connections_per_peer_max) return 0;
    ++of_peer[peer];
    served.emplace(next_id, Entry{one, peer});
    return next_id++;
  }
  void remove(uint64_t id) {
    std::lock_guard lock(mutex);
    auto found = served.find(id);
    auto known = of_peer.find(found->second.peer);
    if (--known->second == 0) of_peer.erase(known);
    served.erase(found);
  }
  std::vector<std::shared_ptr<Served>> all() {
    std::lock_guard lock(mutex);
    std::vector<std::shared_ptr<Served>> out;
    for (auto& [id, entry] : served) {
      if (auto one = entry.one.lock()) out.push_back(std::move(one));
    }
    return out;
  }
};

}  // namespace freshet::http
