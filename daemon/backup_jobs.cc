#include "daemon/backup_jobs.h"

#include <filesystem>

#include "base/log.h"
#include "base/version.h"
#include "daemon/store/backup.h"

namespace freshet {

BackupJobs::~BackupJobs() {
  is_stopped_ = true;
  if (thread_.joinable()) thread_.join();
}

Result<v1::BackupStatus> BackupJobs::start(const v1::BackupRequest& request) {
  std::lock_guard lock(mutex_);
  if (status_.state() == v1::BackupStatus::RUNNING) {
    return conflict("a backup to " + status_.directory() + " is being made; wait for its end");
  }
  RETURN_IF_ERROR(check_backup_target(request.directory()));
  if (thread_.joinable()) thread_.join();
  status_.Clear();
  status_.set_state(v1::BackupStatus::RUNNING);
  status_.set_directory(request.directory());
  status_.set_started_us(clock_.now().us);
  thread_ = std::thread([this, directory = request.directory()] { run(directory); });
  return status_;
}

v1::BackupStatus BackupJobs::status() const {
  std::lock_guard lock(mutex_);
  return status_;
}

void BackupJobs::run(const std::string& directory) {
  log_info("backup", "to " + directory);
  BackupOptions options;
  options.directory = directory;
  options.version = kVersion;
  options.clock = &clock_;
  options.progress = [this](const BackupProgress& progress) -> Status {
    std::lock_guard lock(mutex_);
    status_.set_files_done(progress.files_done);
    status_.set_files(progress.files);
    status_.set_bytes_done(progress.bytes_done);
    status_.set_bytes(progress.bytes);
    return is_stopped_ ? cancelled("the daemon was stopped") : Status::ok();
  };
  finish(write_backup(kv_, artifacts_, options));
}

void BackupJobs::finish(const Result<v1::BackupManifest>& written) {
  std::lock_guard lock(mutex_);
  status_.set_finished_us(clock_.now().us);
  if (written.is_ok()) {
    status_.set_state(v1::BackupStatus::DONE);
    status_.set_revision(written->revision());
    log_info("backup", status_.directory() + " holds revision " + std::to_string(written->revision()));
  } else {
    status_.set_state(v1::BackupStatus::FAILED);
    status_.set_message(written.status().message());
    log_error("backup", status_.directory() + ": " + written.status().to_string());
  }
}

}  // namespace freshet
