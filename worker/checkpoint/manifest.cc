#include "worker/checkpoint/manifest.h"

#include <set>

#include "base/file.h"
#include "proto/json.h"

namespace freshet::worker {

bool is_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

Result<v1::ArtifactManifest> read_manifest(const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(std::string text, read_file(path));
  v1::ArtifactManifest manifest;
  if (Status status = from_json(text, &manifest); !status.is_ok()) {
    return corrupt(path.string() + ": " + status.message());
  }
  std::set<std::string> names;
  for (const auto& file : manifest.files()) {
    if (!is_file_name(file.name()) || !names.insert(file.name()).second) {
      return corrupt(path.string() + " lists the file name \"" + file.name() + "\"");
    }
  }
  return manifest;
}

Status verify_file(const std::filesystem::path& directory, const v1::ArtifactFile& file) {
  const std::filesystem::path path = directory / file.name();
  auto found = digest_file(path);
  if (!found.is_ok()) return corrupt(found.status().message());
  if (found->size != file.size() || found->sha256 != file.sha256()) {
    return corrupt(path.string() + " is not what its manifest says (" + std::to_string(found->size) + " bytes, " +
                   std::to_string(file.size()) + " expected, or another content)");
  }
  return Status::ok();
}

Result<v1::ArtifactManifest> verify_artifact(const std::filesystem::path& directory) {
  ASSIGN_OR_RETURN(v1::ArtifactManifest manifest, read_manifest(directory / kManifest));
  for (const auto& file : manifest.files()) RETURN_IF_ERROR(verify_file(directory, file));
  return manifest;
}

}  // namespace freshet::worker
