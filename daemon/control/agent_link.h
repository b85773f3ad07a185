// AgentLink: how control reaches the agents. The real one writes to WebSocket sessions, the simulator's delivers to
// fake agents. Sending never blocks and never fails loudly: a frame that is lost is sent again by a later reconcile.
#pragma once

#include <string>

#include "proto/agent.pb.h"

namespace freshet::control {

class AgentLink {
 public:
  virtual ~AgentLink() = default;
  // false: the node is not connected, or its queue is full.
  virtual bool send(const std::string& node, const v1::DaemonFrame& frame) = 0;
  virtual bool connected(const std::string& node) const = 0;
};

}  // namespace freshet::control
