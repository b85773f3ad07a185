// RocksKv: the Kv on disk, in DIRECTORY/db, with the settings that were measured to lose nothing silently: every write
// synced, a flipped bit refuses to open, a log torn behind the last acknowledged write opens, one that lost more does
// not (high_water.h). A full disk makes writes fail and nothing else, until recover() has reopened the database, for
// which readers are waited for and new ones wait. A ballast file is given up when there is no room even to open. Any
// thread may read and recover; one writes.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <shared_mutex>

#include "daemon/store/high_water.h"
#include "daemon/store/kv.h"

namespace freshet {

struct RocksKvOptions {
  std::filesystem::path data_directory;  // made when missing
  uint64_t ballast_bytes = 64ull << 20;  // 0: none; not made either where it would take over a quarter of what is free
};

class RocksKv final : public Kv {
 public:
  // kUnavailable: another freshetd has the directory; kCorrupt: the files are not what was written, or newer ones are
  // missing, and nothing was changed; kPermissionDenied and kInvalidArgument name what is wrong with the directory;
  // kResourceExhausted: full, even without the ballast.
  static Result<std::unique_ptr<RocksKv>> open(RocksKvOptions options);
  // What lies there, changed in nothing; writes are refused.
  static Result<std::unique_ptr<RocksKv>> open_read_only(const std::filesystem::path& data_directory);
  ~RocksKv() override;

  std::unique_ptr<KvSnapshot> snapshot() const override;
  Status write(const std::vector<KvWrite>& batch) override;

  // Whether writes fail until recover().
  bool is_failed() const;
  // Reopens after a failed write, as soon as there is space; ok also when nothing had failed. A snapshot that is held
  // for longer than a second meanwhile answers kUnavailable from then on: read again.
  Status recover();

  // A copy of all that was written before the call, as a directory that can be opened; by hard links where the file
  // system allows. Neither waits for writes nor stops them.
  Status checkpoint(const std::filesystem::path& directory) const;

 private:
  class Database;
  class View;

  explicit RocksKv(RocksKvOptions options) : options_(std::move(options)) {}
  Result<std::shared_ptr<Database>> open_database();
  Result<std::shared_ptr<Database>> open_for_reading() const;
  Status check_before_opening();
  std::shared_ptr<Database> current() const;
  void replace(std::shared_ptr<Database> database);
  Status reopen();
  void make_ballast();
  bool drop_ballast();
  std::filesystem::path ballast_path() const { return options_.data_directory / "ballast"; }

  std::filesystem::path database_path() const { return options_.data_directory / "db"; }

  RocksKvOptions options_;

  std::mutex write_mutex_;               // held by write() and recover(): one at a time
  std::atomic<bool> failed_ = false;     // the last write failed: reopen before the next
  HighWater high_water_;                 // in RocksDB's sequence numbers; under write_mutex_
  mutable std::shared_mutex reopening_;  // exclusive while there is no database to read
  mutable std::mutex mutex_;             // guards the pointer
  std::shared_ptr<Database> database_;   // shared with each View
};

}  // namespace freshet
