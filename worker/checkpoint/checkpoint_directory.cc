#include "worker/checkpoint/checkpoint_directory.h"

#include <algorithm>
#include <cstdio>
#include <system_error>

#include "base/crash_point.h"
#include "base/file.h"
#include "base/parse_number.h"
#include "proto/digest.h"
#include "proto/json.h"
#include "worker/checkpoint/manifest.h"

namespace freshet::worker {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kUnfinished = ".tmp.";

std::string step_name(uint64_t step) {
  char name[40];
  std::snprintf(name, sizeof name, "step-%012llu", static_cast<unsigned long long>(step));
  return name;
}

std::string note_name(int rank) { return "rank-" + std::to_string(rank) + ".json"; }

Status remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  return error ? unavailable("remove " + path.string() + ": " + error.message()) : Status::ok();
}

Status rename_path(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  return error ? unavailable("rename " + from.string() + ": " + error.message()) : Status::ok();
}

// Also of a manifest that is missing: a directory that looks sealed has one.
Result<v1::ArtifactManifest> read_checkpoint_manifest(const fs::path& path) {
  auto manifest = read_manifest(path);
  return manifest.is_ok() ? std::move(manifest) : corrupt(manifest.status().message());
}

}  // namespace

fs::path CheckpointDirectory::sealed_path(uint64_t step) const { return path_ / step_name(step); }

fs::path CheckpointDirectory::unfinished_path(uint64_t step) const {
  return path_ / (step_name(step) + std::string(kUnfinished) + std::to_string(epoch_));
}

Result<std::vector<uint64_t>> CheckpointDirectory::sealed() const {
  std::vector<uint64_t> steps;
  std::error_code error;
  if (!fs::exists(path_, error)) return steps;
  for (const auto& entry : fs::directory_iterator(path_, error)) {
    std::string name = entry.path().filename();
    uint64_t step = 0;
    if (name.starts_with(kPrefix) && parse_number(std::string_view(name).substr(kPrefix.size()), &step)) {
      steps.push_back(step);
    }
  }
  if (error) return unavailable("list " + path_.string() + ": " + error.message());
  std::sort(steps.begin(), steps.end());
  return steps;
}

Status CheckpointDirectory::note_files(uint64_t step, int rank, const std::vector<v1::ArtifactFile>& files) const {
  v1::ArtifactManifest note;
  for (const auto& file : files) *note.add_files() = file;
  return write_file_durably(unfinished_path(step) / note_name(rank), to_canonical_json(note));
}

Result<uint64_t> CheckpointDirectory::seal(uint64_t step, int ranks, const v1::CheckpointInfo& info) const {
  const fs::path open_path = unfinished_path(step);
  v1::ArtifactManifest manifest;
  manifest.set_type("checkpoint");
  *manifest.mutable_checkpoint() = info;
  uint64_t bytes = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    ASSIGN_OR_RETURN(auto note, read_checkpoint_manifest(open_path / note_name(rank)));
    for (const auto& file : note.files()) {
      bytes += file.size();
      *manifest.add_files() = file;
    }
    RETURN_IF_ERROR(remove_tree(open_path / note_name(rank)));
  }
  std::sort(manifest.mutable_files()->begin(), manifest.mutable_files()->end(),
            [](const auto& a, const auto& b) { return a.name() < b.name(); });
  manifest.set_self_sha256(message_digest(manifest));
  CRASH_POINT("snapshot.manifest.before_write");
  // Syncs the directory, too, and with it the names of all shards.
  RETURN_IF_ERROR(write_file_durably(open_path / kManifest, to_canonical_json(manifest)));
  std::error_code error;
  if (fs::exists(sealed_path(step), error)) {
    RETURN_IF_ERROR(remove_tree(open_path));
    return bytes;
  }
  CRASH_POINT("snapshot.directory.before_rename");
  RETURN_IF_ERROR(rename_path(open_path, sealed_path(step)));
  CRASH_POINT("snapshot.directory.after_rename");
  RETURN_IF_ERROR(sync_directory(path_));
  CRASH_POINT("snapshot.directory.after_sync");
  return bytes;
}

Status CheckpointDirectory::remove_sealed(uint64_t step) const {
  // Renamed first: what is half removed must not look sealed.
  RETURN_IF_ERROR(rename_path(sealed_path(step), unfinished_path(step)));
  return remove_tree(unfinished_path(step));
}

Status CheckpointDirectory::remove_older(size_t kept) const {
  ASSIGN_OR_RETURN(auto steps, sealed());
  for (size_t i = 0; i + kept < steps.size(); ++i) RETURN_IF_ERROR(remove_sealed(steps[i]));
  return Status::ok();
}

Status CheckpointDirectory::remove_unfinished(uint64_t step) const { return remove_tree(unfinished_path(step)); }

Status CheckpointDirectory::remove_all_unfinished() const {
  std::error_code error;
  if (!fs::exists(path_, error)) return Status::ok();
  std::vector<fs::path> left;
  for (const auto& entry : fs::directory_iterator(path_, error)) {
    std::string name = entry.path().filename();
    size_t mark = name.find(kUnfinished);
    uint64_t epoch = 0;
    if (mark == std::string::npos || !name.starts_with(kPrefix)) continue;
    if (!parse_number(std::string_view(name).substr(mark + kUnfinished.size()), &epoch)) continue;
    if (epoch <= epoch_) left.push_back(entry.path());
  }
  if (error) return unavailable("list " + path_.string() + ": " + error.message());
  for (const auto& path : left) RETURN_IF_ERROR(remove_tree(path));
  return Status::ok();
}

Result<v1::ArtifactManifest> read_checkpoint(const fs::path& directory) {
  ASSIGN_OR_RETURN(auto manifest, read_checkpoint_manifest(directory / kManifest));
  v1::ArtifactManifest rest = manifest;
  rest.clear_self_sha256();
  if (manifest.type() != "checkpoint" || manifest.self_sha256() != message_digest(rest)) {
    return corrupt((directory / kManifest).string() + " is not what was written");
  }
  return manifest;
}

Result<v1::ArtifactManifest> verify_checkpoint(const fs::path& directory, size_t part, size_t parts, ThreadPool* pool) {
  ASSIGN_OR_RETURN(auto manifest, read_checkpoint(directory));
  const auto files = static_cast<size_t>(manifest.files_size());
  const size_t own = files <= part ? 0 : (files - part + parts - 1) / parts;
  RETURN_IF_ERROR(pool->run(own, [&](size_t index, unsigned) {
    return verify_file(directory, manifest.files(static_cast<int>(part + index * parts)));
  }));
  return manifest;
}

}  // namespace freshet::worker
