// The local provider: the one agent of this machine that belongs to the daemon's data directory. Starts it as a process
// of its own that outlives the daemon, finds it again, stops it. Any thread; blocking, but short. Launches no gang.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/process.h"
#include "base/status.h"
#include "base/time.h"

namespace freshet {

struct LocalAgentConfig {
  std::filesystem::path agent;  // the programs
  std::filesystem::path worker;
  std::filesystem::path mpirun;
  std::filesystem::path agent_dir;
  std::filesystem::path address_file;  // the daemon's URL, which may be another after its next start
  std::filesystem::path token_file;
  std::string node;
  uint32_t slots = 1;
  std::filesystem::path products;  // the table that freshet-tune wrote; empty: none
};

// The command line of the agent. Pure.
std::vector<std::string> build_local_agent_command(const LocalAgentConfig& config);

class LocalProvider {
 public:
  explicit LocalProvider(LocalAgentConfig config) : config_(std::move(config)) {}

  // The agent that runs on the directory; nullopt when none does.
  Result<std::optional<ProcessId>> find() const;
  // Starts one unless one runs. Its output goes to agent_dir/agent.log. Idempotent: of two agents started at the same
  // time the directory's lock lets one live.
  Status ensure_running();
  // Asks it to end, kills it after `grace`, and returns when it is gone. Gangs go on. Ok when none runs.
  Status stop(Duration grace);

 private:
  Status start();
  LocalAgentConfig config_;
};

// The configuration of the agent of `data_dir`: the programs beside this one, mpirun from PATH, the machine's name.
// `slots` 0: the machine's cores.
Result<LocalAgentConfig> local_agent_config(const std::filesystem::path& data_dir, uint32_t slots,
                                            const std::filesystem::path& products);

// Makes sure that the local agent runs; it reads the daemon's URL from data_dir/address, which must hold `url` by now.
Result<LocalProvider> ensure_local_agent(const std::filesystem::path& data_dir, const std::string& url, uint32_t slots,
                                         const std::filesystem::path& products);

}  // namespace freshet
