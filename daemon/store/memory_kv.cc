#include "daemon/store/memory_kv.h"

#include <algorithm>

namespace freshet {

class MemoryKv::View final : public KvSnapshot {
 public:
  View(const MemoryKv& kv, uint64_t sequence) : kv_(kv), sequence_(sequence) {}
  ~View() override { kv_.release(sequence_); }

  Result<std::optional<std::string>> get(std::string_view key) const override {
    std::shared_lock lock(kv_.mutex_);
    auto found = kv_.map_.find(key);
    if (found == kv_.map_.end()) return std::optional<std::string>();
    const std::optional<std::string>* value = visible(found->second, sequence_);
    return value == nullptr ? std::optional<std::string>() : *value;
  }

  Result<std::vector<KvPair>> scan(std::string_view prefix, std::string_view after, size_t limit,
                                   bool reverse) const override {
    std::shared_lock lock(kv_.mutex_);
    std::string end = prefix_end(prefix);
    auto first = kv_.map_.lower_bound(prefix);
    auto last = end.empty() ? kv_.map_.end() : kv_.map_.lower_bound(end);
    std::vector<KvPair> found;
    auto take = [&](const std::string& key, const Versions& versions) {
      const std::optional<std::string>* value = visible(versions, sequence_);
      if (value != nullptr && value->has_value()) found.push_back({key, **value});
      return limit == 0 || found.size() < limit;
    };
    if (reverse) {
      if (!after.empty() && (end.empty() || after < end)) last = kv_.map_.lower_bound(std::max(after, prefix));
      while (last != first) {
        --last;
        if (!take(last->first, last->second)) break;
      }
    } else {
      if (after >= prefix && !after.empty()) first = kv_.map_.upper_bound(after);
      bool none = !end.empty() && after >= end;
      for (; !none && first != last; ++first) {
        if (!take(first->first, first->second)) break;
      }
    }
    return found;
  }

 private:
  const MemoryKv& kv_;
  uint64_t sequence_;
};

MemoryKv::~MemoryKv() { CHECK_MSG(snapshots_.empty(), "a snapshot outlives its store"); }

std::unique_ptr<KvSnapshot> MemoryKv::snapshot() const {
  std::unique_lock lock(mutex_);
  snapshots_.insert(sequence_);
  return std::make_unique<View>(*this, sequence_);
}

Status MemoryKv::write(const std::vector<KvWrite>& batch) {
  std::unique_lock lock(mutex_);
  if (!failure_.is_ok()) return failure_;
  ++sequence_;
  for (const KvWrite& write : batch) {
    Versions& versions = map_[write.key];
    if (!versions.empty() && versions.back().sequence == sequence_) {
      versions.back().value = write.value;
    } else {
      versions.push_back({sequence_, write.value});
    }
    if (versions.size() > 1 || !write.value) crowded_.insert(write.key);
  }
  std::vector<std::string> crowded(crowded_.begin(), crowded_.end());
  for (const std::string& key : crowded) prune(key);
  return Status::ok();
}

void MemoryKv::fail_writes(Status status) {
  std::unique_lock lock(mutex_);
  failure_ = std::move(status);
}

size_t MemoryKv::kept_versions() const {
  std::shared_lock lock(mutex_);
  size_t count = 0;
  for (const auto& [key, versions] : map_) count += versions.size();
  return count;
}

const std::optional<std::string>* MemoryKv::visible(const Versions& versions, uint64_t sequence) {
  const std::optional<std::string>* newest = nullptr;
  for (const Version& version : versions) {
    if (version.sequence > sequence) break;
    newest = &version.value;
  }
  return newest;
}

// Drops the versions that neither a living snapshot nor a new one can see.
void MemoryKv::prune(const std::string& key) {
  uint64_t oldest = snapshots_.empty() ? sequence_ : *snapshots_.begin();
  Versions& versions = map_.find(key)->second;
  size_t keep = 0;
  while (keep + 1 < versions.size() && versions[keep + 1].sequence <= oldest) ++keep;
  versions.erase(versions.begin(), versions.begin() + static_cast<std::ptrdiff_t>(keep));
  if (versions.size() > 1) return;
  if (!versions.front().value) {
    if (versions.front().sequence > oldest) return;
    map_.erase(key);
  }
  crowded_.erase(key);
}

void MemoryKv::release(uint64_t sequence) const {
  std::unique_lock lock(mutex_);
  snapshots_.erase(snapshots_.find(sequence));
}

}  // namespace freshet
