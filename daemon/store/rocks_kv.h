// RocksKv: the Kv on disk, in DATA_DIR/db, with the settings that were measured to lose nothing silently: every write
// synced, a flipped bit in the log refuses to open, a torn tail opens. A full disk makes writes fail and nothing else;
// once there is space the next write reopens the database, and a snapshot from before that answers kUnavailable. A
// ballast file in DATA_DIR is given up when there is no room even to open. Any thread may read; one writes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>

#include "daemon/store/kv.h"

namespace freshet {

struct RocksKvOptions {
  std::filesystem::path data_directory;  // made when missing
  uint64_t ballast_bytes = 64ull << 20;  // 0: none; not made either where it would take over a quarter of what is free
};

class RocksKv final : public Kv {
 public:
  // kUnavailable: another freshetd has the directory; kCorrupt: the files are not what was written; kPermissionDenied
  // and kInvalidArgument name what is wrong with the directory; kResourceExhausted: full, even without the ballast.
  static Result<std::unique_ptr<RocksKv>> open(RocksKvOptions options);
  ~RocksKv() override;

  std::unique_ptr<KvSnapshot> snapshot() const override;
  Status write(const std::vector<KvWrite>& batch) override;

 private:
  class Database;
  class View;

  explicit RocksKv(RocksKvOptions options) : options_(std::move(options)) {}
  Result<std::shared_ptr<Database>> open_database();
  std::shared_ptr<Database> current() const;
  Status recover();
  void make_ballast();
  bool drop_ballast();
  std::filesystem::path ballast_path() const { return options_.data_directory / "ballast"; }

  RocksKvOptions options_;
  bool failed_ = false;                 // the last write failed: recover before the next; the writer's alone
  mutable std::mutex mutex_;            // guards the pointer
  std::shared_ptr<Database> database_;  // shared with each View
};

}  // namespace freshet
