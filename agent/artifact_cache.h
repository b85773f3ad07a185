// Artifacts on the node: agent_dir/artifacts/DIGEST, each fetched from the daemon once and verified to the last byte
// before it appears under its name. And the way back: sending what a gang has made. Blocking; any thread, each with a
// transfer of its own.
#pragma once

#include <filesystem>
#include <string>

#include "agent/channel.h"
#include "base/status.h"

namespace freshet::agent {

class ArtifactCache {
 public:
  explicit ArtifactCache(std::filesystem::path dir) : dir_(std::move(dir)) {}

  // Where the artifact is or will be.
  std::filesystem::path path_of(const std::string& digest) const { return dir_ / digest; }

  // Makes sure that it is there. corrupt when the daemon's bytes are not what the digest says; then nothing is kept.
  Status fetch(const std::string& digest, ArtifactTransfer& transfer) const;

  // Removes what an interrupted fetch has left. At start, before anyone fetches.
  Status clean_up() const;

 private:
  std::filesystem::path dir_;
};

// Sends the artifact in `dir` and seals it; does nothing when the daemon has it. unavailable and the like: try again.
// corrupt, invalid_argument: it will never succeed.
Status upload_artifact(const std::filesystem::path& dir, const std::string& digest, ArtifactTransfer& transfer);

}  // namespace freshet::agent
