// LocalLogReader: the logs of gangs of the local agent, read from its directory: from the gang's own folder while it is
// there, then from where the agent keeps logs of forgotten gangs. Any thread.
#pragma once

#include <filesystem>

#include "daemon/control/log_reader.h"

namespace freshet {

class LocalLogReader final : public control::LogReader {
 public:
  explicit LocalLogReader(std::filesystem::path agent_dir) : agent_dir_(std::move(agent_dir)) {}

  Result<std::string> read(const std::string& gang_id, const std::string& stream, uint64_t offset) const override;

 private:
  std::filesystem::path agent_dir_;
};

}  // namespace freshet
