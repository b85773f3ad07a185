// manifest.json: what a directory of files holds, an artifact's or a checkpoint's. Reading trusts nothing: a file from
// the manifest is good when its size and SHA-256 are those that the manifest names. Blocking; any thread.
#pragma once

#include <filesystem>
#include <string>

#include "base/status.h"
#include "proto/artifact.pb.h"

namespace freshet::worker {

inline constexpr const char* kManifest = "manifest.json";

// Whether this names a file in the directory itself.
bool is_file_name(const std::string& name);

// What the file at `path` says; the files it names are not looked at. kNotFound when it is missing, kCorrupt when it is
// not a manifest.
Result<v1::ArtifactManifest> read_manifest(const std::filesystem::path& path);

// kCorrupt names the file when it is missing or not what the manifest says.
Status verify_file(const std::filesystem::path& directory, const v1::ArtifactFile& file);

// The manifest of an artifact's directory after all its files were verified. kNotFound when there is no manifest.
Result<v1::ArtifactManifest> verify_artifact(const std::filesystem::path& directory);

}  // namespace freshet::worker
