// The files of a backup: its manifest, and copies that are on disk and digested. Used by backup.cc alone.
#pragma once

#include <filesystem>
#include <string>
#include <utility>

#include "base/file.h"
#include "base/status.h"
#include "proto/backup.pb.h"

namespace freshet {

// A directory that takes its name when all in it is on disk. Dropped before that, it leaves nothing.
class StagedDirectory {
 public:
  // kInvalidArgument: the target is relative or holds something.
  static Status check(const std::filesystem::path& target);
  // What an earlier try left behind is removed.
  static Result<StagedDirectory> begin(const std::filesystem::path& target);
  StagedDirectory(StagedDirectory&& other) noexcept
      : path_(std::exchange(other.path_, {})), target_(std::move(other.target_)) {}
  StagedDirectory& operator=(StagedDirectory&&) = delete;
  ~StagedDirectory();

  const std::filesystem::path& path() const { return path_; }
  Status finish();

 private:
  StagedDirectory(std::filesystem::path path, std::filesystem::path target)
      : path_(std::move(path)), target_(std::move(target)) {}
  std::filesystem::path path_;  // empty: it has its name, or was moved from
  std::filesystem::path target_;
};

// One line of JSON, and one with its digest, so that the file that verifies all others verifies itself.
Status write_manifest(const std::filesystem::path& directory, const v1::BackupManifest& manifest);
Result<v1::BackupManifest> read_manifest(const std::filesystem::path& directory);

// Copies and syncs; the digest is of the bytes that were read.
Result<FileDigest> copy_file_durably(const std::filesystem::path& from, const std::filesystem::path& to);
// The same by a second name for the file where the file system allows that; only for files that never change.
Result<FileDigest> link_or_copy(const std::filesystem::path& from, const std::filesystem::path& to);
// fsync of each directory below `root`, and of `root`.
Status sync_tree(const std::filesystem::path& root);

}  // namespace freshet
