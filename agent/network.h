// The agent's network as it really is: frames over a WebSocket, artifacts over HTTP, both with the bearer token. Where
// the daemon is and what the token is are read again for every connection, because both may change while the agent
// lives.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "agent/channel.h"

namespace freshet::agent {

struct NetworkOptions {
  std::string daemon_url;             // "http://127.0.0.1:7070"
  std::filesystem::path daemon_file;  // when set, a file that holds the URL
  std::filesystem::path token_file;
};

std::unique_ptr<DaemonNetwork> make_network(NetworkOptions options);

}  // namespace freshet::agent
