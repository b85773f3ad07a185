#include "daemon/api/agent_hub.h"

#include "base/crash_point.h"
#include "base/log.h"

namespace freshet::api {

bool AgentHub::send(const std::string& node, const v1::DaemonFrame& frame) {
  std::shared_ptr<http::WebSocketSession> session;
  {
    std::lock_guard lock(mutex_);
    auto found = nodes_.find(node);
    if (found == nodes_.end()) return false;
    session = connections_.at(found->second).session;
  }
  return session->send(frame.SerializeAsString());
}

bool AgentHub::connected(const std::string& node) const {
  std::lock_guard lock(mutex_);
  return nodes_.contains(node);
}

void AgentHub::on_open(std::shared_ptr<http::WebSocketSession> session) {
  std::lock_guard lock(mutex_);
  connections_[session->id()] = {session, ""};
}

void AgentHub::on_message(http::WebSocketSession& session, std::string bytes) {
  v1::AgentFrame frame;
  if (!frame.ParseFromString(bytes)) {
    session.close("that was not an agent frame");
    return;
  }
  std::string node;
  std::shared_ptr<http::WebSocketSession> replaced;
  {
    std::lock_guard lock(mutex_);
    Connection& connection = connections_.at(session.id());
    node = connection.node;
    if (node.empty() && frame.has_hello()) {
      // Known under its name before control hears the hello: what control sends next must reach it.
      connection.node = frame.hello().node();
      auto known = nodes_.find(connection.node);
      if (known != nodes_.end()) replaced = connections_.at(known->second).session;
      nodes_[connection.node] = session.id();
    }
  }
  if (replaced != nullptr) replaced->close("node " + frame.hello().node() + " connected again");
  CRASH_POINT("agents.frame.before_handling");
  auto replies = service_->on_frame(&node, frame);
  CRASH_POINT("agents.replies.before_send");
  if (!replies.is_ok()) {
    log_warning("agents", "session of node '" + node + "': " + replies.status().to_string());
    session.close(replies.status().message());
    return;
  }
  for (const auto& reply : *replies) session.send(reply.SerializeAsString());
  CRASH_POINT("agents.replies.after_send");
}

void AgentHub::on_close(http::WebSocketSession& session, const Status&) {
  std::string node;
  {
    std::lock_guard lock(mutex_);
    auto found = connections_.find(session.id());
    if (found == connections_.end()) return;
    auto known = nodes_.find(found->second.node);
    if (known != nodes_.end() && known->second == session.id()) {
      node = known->first;
      nodes_.erase(known);
    }
    connections_.erase(found);
  }
  service_->on_closed(node);
}

}  // namespace freshet::api
