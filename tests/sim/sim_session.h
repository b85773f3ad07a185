// One connection of a node: two ordered streams of frames. It may be cut: what is on the way is then lost, and each
// side learns of the end in its own time.
#pragma once

#include "daemon/http/websocket_session.h"
#include "tests/sim/sim_world.h"

namespace freshet::sim {

class SimWorld::Session final : public http::WebSocketSession, public std::enable_shared_from_this<Session> {
 public:
  Session(SimWorld& world, std::string node_name, uint64_t id, uint64_t daemon_number)
      : node(std::move(node_name)), daemon(daemon_number), world_(world), id_(id) {}

  uint64_t id() const override { return id_; }
  const http::Principal& principal() const override { return *world_.admin_; }
  bool send(std::string frame) override;
  void close(const std::string& reason) override;

  const std::string node;
  const uint64_t daemon;  // which start of it this is a connection to
  bool up_open = true, down_open = true;
  bool closed = false;      // by the daemon
  Time up_free, down_free;  // no frame arrives before the one sent before it

 private:
  SimWorld& world_;
  uint64_t id_;
};

}  // namespace freshet::sim
