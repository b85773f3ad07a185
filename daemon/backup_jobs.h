// BackupJobs: makes one backup at a time on a thread of its own, so that requests and loops go on. Dropped while one is
// made, it ends that one, which leaves nothing. Any thread.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <thread>

#include "base/time.h"
#include "daemon/control/backups.h"
#include "daemon/store/artifact_store.h"
#include "daemon/store/rocks_kv.h"

namespace freshet {

class BackupJobs final : public control::Backups {
 public:
  // All outlive it.
  BackupJobs(RocksKv& kv, LocalArtifactStore& artifacts, const Clock& clock)
      : kv_(kv), artifacts_(artifacts), clock_(clock) {}
  ~BackupJobs() override;

  Result<v1::BackupStatus> start(const v1::BackupRequest& request) override;
  v1::BackupStatus status() const override;

 private:
  void run(const std::string& directory);
  void finish(const Result<v1::BackupManifest>& written);

  RocksKv& kv_;
  LocalArtifactStore& artifacts_;
  const Clock& clock_;
  std::atomic<bool> is_stopped_ = false;
  mutable std::mutex mutex_;  // guards all below
  v1::BackupStatus status_;
  std::thread thread_;
};

}  // namespace freshet
