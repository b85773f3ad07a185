// Writes one output of a task as an artifact: files into NAME.tmp, manifest.json last, everything fsynced, then renamed
// to NAME. A directory without the suffix is whole. Owned by the task; one thread. It does not upload anything.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/status.h"
#include "proto/artifact.pb.h"
#include "proto/attempt.pb.h"

namespace freshet::worker {

class ArtifactWriter {
 public:
  // `type` as in ArtifactManifest: "model", "report", "files". What an earlier, unfinished try left is removed.
  static Result<ArtifactWriter> create(const std::filesystem::path& output_dir, const std::string& name,
                                       const std::string& type);

  // On disk when it returns.
  Status add_file(const std::string& name, std::string_view bytes);
  // Models only.
  void set_checkpoint(const v1::CheckpointInfo& info) { *manifest_.mutable_checkpoint() = info; }
  // Writes the manifest and renames. The result goes to Reporter::produced.
  Result<v1::ProducedOutput> seal();

 private:
  ArtifactWriter() = default;
  std::filesystem::path output_dir_;
  std::string name_;
  v1::ArtifactManifest manifest_;
};

}  // namespace freshet::worker
