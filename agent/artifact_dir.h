// An artifact as a directory on the node: its files and manifest.json, whose SHA-256 is the artifact's digest. Checking
// one, and sealing what a command step has left. Blocking; any thread. Does not move bytes to or from the daemon.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/status.h"
#include "proto/artifact.pb.h"

namespace freshet::agent {

constexpr const char* kManifestName = "manifest.json";

// A name that stays inside the artifact: relative, no "..", no empty part, not the manifest's.
bool is_artifact_file_name(std::string_view name);

// Reads a manifest and refuses one that could lead outside its directory. `digest` is the SHA-256 of its bytes.
Result<v1::ArtifactManifest> parse_manifest(std::string_view bytes, const std::string& digest);

// The manifest of a directory that claims to be artifact `digest`: its manifest has that digest, and every file is
// there with its size. Contents are hashed only with `read_contents`.
Result<v1::ArtifactManifest> check_artifact(const std::filesystem::path& dir, const std::string& digest,
                                            bool read_contents);

// Makes an artifact of everything in `from`: syncs the files, writes the manifest, and moves the directory to `to` with
// one durable rename. Returns the digest. invalid_argument for a link or a special file.
Result<std::string> seal_directory(const std::filesystem::path& from, const std::filesystem::path& to,
                                   const std::string& type);

}  // namespace freshet::agent
