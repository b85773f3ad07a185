#include "daemon/offline.h"

#include "daemon/control/restore_fence.h"
#include "daemon/store/backup.h"

namespace freshet {
namespace {

std::string describe(const v1::BackupManifest& manifest) {
  return "revision " + std::to_string(manifest.revision()) + ", " + std::to_string(manifest.records()) + " records, " +
         std::to_string(manifest.artifacts()) + " artifacts, " + std::to_string(manifest.files_size()) +
         " files, audit head " + (manifest.audit_digest().empty() ? "none" : manifest.audit_digest());
}

}  // namespace

Result<std::string> restore_data_directory(const std::filesystem::path& backup, const std::filesystem::path& data_dir) {
  SystemClock clock;
  ASSIGN_OR_RETURN(v1::BackupManifest manifest,
                   restore_backup(backup, std::filesystem::absolute(data_dir).lexically_normal(), clock,
                                  [&](Store& store, const v1::BackupManifest& restored) {
                                    return control::fence_restored(store, clock.now(), Time{restored.created_us()});
                                  }));
  return data_dir.string() + " holds " + describe(manifest) + "; start freshetd on it";
}

Result<std::string> verify_backup_directory(const std::filesystem::path& backup) {
  ASSIGN_OR_RETURN(v1::BackupManifest manifest, verify_backup(backup));
  return backup.string() + " is whole: " + describe(manifest);
}

}  // namespace freshet
