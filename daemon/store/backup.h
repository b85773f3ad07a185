// Backups: a directory with the records at one revision, the artifacts that they name, and a manifest with the digest
// of every file, written last. It appears under its name whole or not at all. Making one neither stops writes nor
// collects; reading one verifies each byte. Blocking; one backup at a time.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "base/time.h"
#include "daemon/store/artifact_store.h"
#include "daemon/store/rocks_kv.h"
#include "daemon/store/store.h"
#include "proto/backup.pb.h"

namespace freshet {

struct BackupProgress {
  uint64_t files_done = 0;
  uint64_t files = 0;
  uint64_t bytes_done = 0;
  uint64_t bytes = 0;
};

struct BackupOptions {
  std::filesystem::path directory;  // absolute; absent or empty
  std::string version;
  const Clock* clock = nullptr;
  // Told before each file how far it is; anything but ok ends the backup with that.
  std::function<Status(const BackupProgress&)> progress = {};
};

// kInvalidArgument: the directory is relative or holds something.
Status check_backup_target(const std::filesystem::path& directory);

// As check_backup_target; kCorrupt: something stored is damaged, by name.
Result<v1::BackupManifest> write_backup(RocksKv& kv, LocalArtifactStore& artifacts, const BackupOptions& options);

// Reads every file. kNotFound: no backup there; kCorrupt names the first file that is not what was written.
Result<v1::BackupManifest> verify_backup(const std::filesystem::path& directory);

// Copies a verified backup to `data_dir`, which must not exist or be empty, and says whether what is there now is
// whole: the store opens at the manifest's revision, its audit log verifies up to the recorded head, every artifact is
// there. Then calls `finish` with the store, and gives the directory its name.
Result<v1::BackupManifest> restore_backup(const std::filesystem::path& directory, const std::filesystem::path& data_dir,
                                          const Clock& clock,
                                          const std::function<Status(Store&, const v1::BackupManifest&)>& finish);

}  // namespace freshet
