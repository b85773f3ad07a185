// The daemon's disk: what outlives its process. A Kv and an ArtifactStore in memory that fail as disks do, when and how
// the faults say: full (nothing written), an I/O error (written or not; the caller can't know), a crash inside the
// write (the batch is there or it is not), reads that fail. One thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "daemon/store/artifact_store.h"
#include "daemon/store/memory_kv.h"

namespace freshet::sim {

// Thrown to end the simulated daemon wherever it is.
struct Crash {};

// What is wrong with the disk now. Odds are "one in so many"; 0: never.
struct DiskFaults {
  bool full = false;
  uint64_t write_error_odds = 0;
  uint64_t read_error_odds = 0;
  bool torn_write = false;  // the next write ends the process

  uint64_t refused_full = 0, failed_unwritten = 0, failed_written = 0, torn = 0, failed_reads = 0;  // how often it hit
};

class SimKv final : public Kv {
 public:
  // `draw(n)` gives a number below n. `on_batch` hears each batch that is on the disk, right after it.
  SimKv(DiskFaults& faults, std::function<uint64_t(uint64_t)> draw) : faults_(faults), draw_(std::move(draw)) {}

  void on_batch(std::function<void(const std::vector<KvWrite>&)> heard) { on_batch_ = std::move(heard); }
  // The same bytes without faults, for whoever looks at the world from outside.
  Kv& healthy() { return kv_; }

  std::unique_ptr<KvSnapshot> snapshot() const override;
  Status write(const std::vector<KvWrite>& batch) override;

 private:
  Status apply(const std::vector<KvWrite>& batch);

  MemoryKv kv_;
  DiskFaults& faults_;
  std::function<uint64_t(uint64_t)> draw_;
  std::function<void(const std::vector<KvWrite>&)> on_batch_;
};

class SimArtifacts final : public ArtifactStore {
 public:
  SimArtifacts(const Clock& clock, DiskFaults& faults, std::function<uint64_t(uint64_t)> draw)
      : store_(&clock), faults_(faults), draw_(std::move(draw)) {}
  const ArtifactStore& healthy() const { return store_; }
  // An artifact whose upload ended at the seal: no record was written, and nobody comes back to it.
  void leave_upload(const std::string& content);

  Result<std::unique_ptr<ArtifactWriter>> put_file(const std::string& sha256, std::optional<uint64_t> size) override;
  bool has_file(const std::string& sha256) const override { return store_.has_file(sha256); }
  bool touch_file(const std::string& sha256) override { return store_.touch_file(sha256); }
  Result<v1::ArtifactManifest> seal(const std::string& digest, const std::string& manifest) override;
  bool exists(const std::string& digest) const override { return store_.exists(digest); }
  Result<std::string> manifest(const std::string& digest) const override;
  Result<std::string> read(const std::string& digest, const std::string& name) const override;
  Result<std::optional<std::filesystem::path>> path(const std::string& digest, const std::string& name) const override;
  Status pin(const std::string& digest, const std::string& by) override;
  Status unpin(const std::string& digest, const std::string& by) override;
  Result<std::set<std::string>> pins(const std::string& digest) const override { return store_.pins(digest); }
  Result<std::vector<SealedArtifact>> sealed() const override { return store_.sealed(); }
  Status remove(const std::string& digest, const std::function<bool(const std::string&)>& may_drop) override {
    RETURN_IF_ERROR(may_write());
    return store_.remove(digest, may_drop);
  }
  Result<StrayFiles> sweep(size_t part, Time before, bool dry_run) override {
    RETURN_IF_ERROR(may_write());
    return store_.sweep(part, before, dry_run);
  }

 private:
  Status may_write();
  Status may_read() const;

  MemoryArtifactStore store_;
  DiskFaults& faults_;
  std::function<uint64_t(uint64_t)> draw_;
};

}  // namespace freshet::sim
