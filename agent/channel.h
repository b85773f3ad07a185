// The agent's two ways to the daemon, as interfaces: frames (AgentChannel) and the bytes of artifacts
// (ArtifactTransfer). network.h has the real ones; tests put a daemon in memory behind them.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/status.h"
#include "proto/agent.pb.h"

namespace freshet::agent {

// One connection. send() from any thread; destroyed by the agent's own thread, which waits for running callbacks.
class AgentChannel {
 public:
  virtual ~AgentChannel() = default;
  // Queues the frame. Ok is no promise that it arrives.
  virtual Status send(const v1::AgentFrame& frame) = 0;
};

struct ChannelCallbacks {
  std::function<void(v1::DaemonFrame frame)> on_frame;
  std::function<void(const Status& reason)> on_close;  // once, last
};

// The daemon's artifact store over the network. One thread at a time; cancel() from any thread, for good.
class ArtifactTransfer {
 public:
  virtual ~ArtifactTransfer() = default;
  // The bytes of the manifest; not_found when the daemon has no such artifact (sealed).
  virtual Result<std::string> get_manifest(const std::string& digest) = 0;
  virtual Status get_file(const std::string& digest, const std::string& name, const std::filesystem::path& to) = 0;
  // Files are put by the digest of their content, before the manifest that names them.
  virtual Status put_file(const std::string& sha256, const std::filesystem::path& from) = 0;
  // Seals: all files must be there.
  virtual Status put_manifest(const std::string& digest, const std::filesystem::path& from) = 0;
  virtual void cancel() = 0;
};

class DaemonNetwork {
 public:
  virtual ~DaemonNetwork() = default;
  // Blocks until the daemon has accepted the connection or refused it. Callbacks may start before it returns.
  virtual Result<std::unique_ptr<AgentChannel>> connect(ChannelCallbacks callbacks) = 0;
  virtual std::unique_ptr<ArtifactTransfer> make_transfer() = 0;
};

}  // namespace freshet::agent
