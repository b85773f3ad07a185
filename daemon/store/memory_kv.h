// MemoryKv: a Kv without a disk, for tests and the simulator; deterministic in one thread and safe in many. Each key
// holds its versions; a snapshot is a number, so taking one is cheap, and a write drops the versions that no living
// snapshot can see. Nothing survives the object.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <shared_mutex>

#include "daemon/store/kv.h"

namespace freshet {

class MemoryKv final : public Kv {
 public:
  MemoryKv() = default;
  ~MemoryKv() override;

  std::unique_ptr<KvSnapshot> snapshot() const override;
  Status write(const std::vector<KvWrite>& batch) override;

  // From now on every write fails with this status and changes nothing; ok: writes work again. For tests.
  void fail_writes(Status status);
  // How many values are kept, over all versions of all keys. For tests.
  size_t kept_versions() const;

 private:
  class View;
  struct Version {
    uint64_t sequence = 0;
    std::optional<std::string> value;  // nullopt: deleted
  };
  using Versions = std::vector<Version>;  // ascending

  static const std::optional<std::string>* visible(const Versions& versions, uint64_t sequence);
  void prune(const std::string& key);
  void release(uint64_t sequence) const;

  mutable std::shared_mutex mutex_;  // guards all below
  std::map<std::string, Versions, std::less<>> map_;
  uint64_t sequence_ = 0;  // of the newest write
  mutable std::multiset<uint64_t> snapshots_;
  std::set<std::string> crowded_;  // keys with more than one version, or whose only version is a delete
  Status failure_;
};

}  // namespace freshet
