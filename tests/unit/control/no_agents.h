// A control plane without nodes: nobody is connected, and nothing that is sent arrives.
#pragma once

#include "daemon/control/agent_link.h"

namespace freshet::test {

class NoAgents final : public control::AgentLink {
 public:
  bool send(const std::string&, const v1::DaemonFrame&) override { return false; }
  bool connected(const std::string&) const override { return false; }
};

}  // namespace freshet::test
