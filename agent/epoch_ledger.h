// What this node has promised: the highest daemon term it has obeyed and, for each piece of work, the newest epoch it
// has accepted. Appended durably to one file before a promise is given; compacted when opened. Thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "base/file.h"
#include "base/status.h"
#include "proto/node.pb.h"

namespace freshet::agent {

class EpochLedger {
 public:
  // Promises of the newest `kept_max` pieces of work survive a compaction; the term guards against older ones.
  static Result<std::unique_ptr<EpochLedger>> open(const std::filesystem::path& path, size_t kept_max = 4096);

  uint64_t highest_term() const;
  // Notes the term durably. conflict when a newer one was obeyed before.
  Status accept_term(uint64_t term);

  // The promise to refuse every older epoch of the work, on disk when this returns. Accepts the same (epoch, gang)
  // again. conflict: the epoch was passed, was given to another gang, or the term is old.
  Status accept(const v1::AcceptedEpoch& epoch);

  // The gang of this epoch is over, on disk when this returns: check() and accept() refuse the epoch from now on, so
  // that a launch that the daemon sent before it knew starts nothing. Nothing to do when a newer epoch was accepted.
  Status finish(const v1::WorkRef& work, uint64_t epoch);

  // Ok when exactly this epoch and gang are the newest accepted of the work, and not over.
  Status check(const v1::WorkRef& work, uint64_t epoch, const std::string& gang_id) const;

 private:
  EpochLedger(std::filesystem::path path, size_t kept_max) : path_(std::move(path)), kept_max_(kept_max) {}
  Status load();
  Status append(const v1::AcceptedEpoch& entry);
  Status accept_term_locked(uint64_t term) const;

  std::filesystem::path path_;
  size_t kept_max_;
  mutable std::mutex mutex_;
  Fd fd_;
  uint64_t term_ = 0;
  uint64_t counter_ = 0;
  struct Promise {
    v1::AcceptedEpoch entry;
    uint64_t order = 0;  // when it was made, to keep the newest
  };
  std::map<std::string, Promise> promises_;  // by work_key()
};

}  // namespace freshet::agent
