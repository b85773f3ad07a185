// LocalDisk: the Disk under a RocksKv and other directories. Asks the file systems each time, which costs microseconds.
// Any thread.
#pragma once

#include <filesystem>
#include <utility>
#include <vector>

#include "daemon/store/disk.h"
#include "daemon/store/rocks_kv.h"

namespace freshet {

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
