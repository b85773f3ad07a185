// ArtifactService: how agents hand in what their gangs made, and fetch what the next ones need. Files first, then the
// seal, which also makes the record that versions refer to. Called by API handlers, from any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "daemon/control/context.h"
#include "proto/artifact.pb.h"

namespace freshet::control {

class ArtifactService {
 public:
  explicit ArtifactService(Context& context) : context_(context) {}

  // Starts a file with this content; nullptr when it is here already.
  Result<std::unique_ptr<ArtifactWriter>> begin_file(const std::string& sha256, std::optional<uint64_t> size);
  // Seals the artifact and records it; sealing twice is one seal.
  Result<v1::ArtifactRecord> seal(const std::string& actor, const std::string& digest, const std::string& manifest);
  // not_found until the artifact is recorded, so that whoever asks whether to upload it does so again after a daemon
  // that was killed between the seal and its record.
  Result<std::string> manifest(const std::string& digest) const;
  // Where the file lies; nullopt: only its bytes are to be had, by read().
  Result<std::optional<std::filesystem::path>> path(const std::string& digest, const std::string& name) const {
    return context_.artifacts.path(digest, name);
  }
  Result<std::string> read(const std::string& digest, const std::string& name) const {
    return context_.artifacts.read(digest, name);
  }

 private:
  Context& context_;
};

}  // namespace freshet::control
