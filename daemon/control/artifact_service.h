// ArtifactService: how agents hand in what their gangs made, and fetch what the next ones need. Files first, then the
// seal, which also makes the record that versions refer to. Called by API handlers, from any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "daemon/control/context.h"
#include "daemon/store/tables.h"
#include "proto/artifact.pb.h"

namespace freshet::control {

class ArtifactService {
 public:
  explicit ArtifactService(Context& context) : context_(context) {}

  // Starts a file with this content; nullptr when it is here already.
  Result<std::unique_ptr<ArtifactWriter>> begin_file(const std::string& sha256, std::optional<uint64_t> size);
  // Seals the artifact and records it; sealing twice is one seal. kUnavailable while an artifact of the same digest is
  // being removed: upload it again, from its files on.
  Result<v1::ArtifactRecord> seal(const std::string& actor, const std::string& digest, const std::string& manifest);
  // What is sealed but not recorded, or is being removed, is not found: an agent that asks uploads it then.
  Result<std::string> manifest(const std::string& digest) const;
  // Where the file lies; nullopt: only its bytes are to be had, by read().
  Result<std::optional<std::filesystem::path>> path(const std::string& digest, const std::string& name) const;
  Result<std::string> read(const std::string& digest, const std::string& name) const;

 private:
  Result<v1::ArtifactRecord> sealed_again(const std::string& actor, Record<v1::ArtifactRecord> known);
  Status check_usable(const std::string& digest) const;

  Context& context_;
};

}  // namespace freshet::control
