// Disk: the room that the daemon's files have, and whether the store can write; behind an interface so that control can
// be told about a disk that is not there. LocalDisk asks the file systems each time, which costs microseconds. Any
// thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/status.h"
#include "daemon/store/rocks_kv.h"

namespace freshet {

class Disk {
 public:
  virtual ~Disk() = default;
  // Of the file system among the daemon's that has the least.
  virtual Result<uint64_t> free_bytes() const = 0;
  // Whether writes to the store fail until recover().
  virtual bool is_failed() const = 0;
  // Makes them work again once there is space; ok also when nothing had failed.
  virtual Status recover() = 0;
};

class LocalDisk final : public Disk {
 public:
  // `kv` outlives it; the directories exist.
  LocalDisk(RocksKv& kv, std::vector<std::filesystem::path> directories)
      : kv_(kv), directories_(std::move(directories)) {}

  Result<uint64_t> free_bytes() const override;
  bool is_failed() const override { return kv_.is_failed(); }
  Status recover() override { return kv_.recover(); }

 private:
  RocksKv& kv_;
  std::vector<std::filesystem::path> directories_;
};

}  // namespace freshet
