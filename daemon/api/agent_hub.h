// AgentHub: the sessions of the agents. It turns their bytes into frames for control's AgentService and control's
// frames into bytes for them. A node has one session: a new one of the same name replaces the old, which is closed.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "daemon/control/agent_link.h"
#include "daemon/control/agent_service.h"
#include "daemon/http/websocket_session.h"

namespace freshet::api {

class AgentHub final : public control::AgentLink, public http::WebSocketListener {
 public:
  // Before the server starts; the service outlives the hub's use.
  void set_service(control::AgentService& service) { service_ = &service; }

  bool send(const std::string& node, const v1::DaemonFrame& frame) override;
  bool connected(const std::string& node) const override;

  void on_open(std::shared_ptr<http::WebSocketSession> session) override;
  void on_message(http::WebSocketSession& session, std::string bytes) override;
  void on_close(http::WebSocketSession& session, const Status& reason) override;

 private:
  struct Connection {
    std::shared_ptr<http::WebSocketSession> session;
    std::string node;  // empty before the hello
  };

  control::AgentService* service_ = nullptr;
  mutable std::mutex mutex_;
  std::map<uint64_t, Connection> connections_;  // by session id; guarded by mutex_
  std::map<std::string, uint64_t> nodes_;       // newest session of each node; guarded by mutex_
};

}  // namespace freshet::api
