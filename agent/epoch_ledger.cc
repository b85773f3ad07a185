#include "agent/epoch_ledger.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "agent/gang_files.h"
#include "base/crash_point.h"
#include "proto/frame.h"

namespace freshet::agent {
namespace {

// An epoch that is over stays in the ledger without its gang.
bool is_over(const v1::AcceptedEpoch& promised) { return promised.gang_id().empty(); }

std::string holder(const v1::AcceptedEpoch& promised) {
  if (is_over(promised)) return "epoch " + std::to_string(promised.epoch()) + " of the same work is over on this node";
  return "this node has accepted epoch " + std::to_string(promised.epoch()) + " of the same work for gang " +
         promised.gang_id();
}

}  // namespace

Result<std::unique_ptr<EpochLedger>> EpochLedger::open(const std::filesystem::path& path, size_t kept_max) {
  std::unique_ptr<EpochLedger> ledger(new EpochLedger(path, kept_max));
  RETURN_IF_ERROR(ledger->load());
  return ledger;
}

// Reads what is there and writes it anew with one promise for each piece of work, which also drops a torn end.
Status EpochLedger::load() {
  auto bytes = read_file(path_);
  if (!bytes.is_ok() && bytes.status().code() != Code::kNotFound) return bytes.status();
  if (bytes.is_ok()) {
    FrameDecoder decoder;
    decoder.feed(*bytes);
    for (;;) {
      v1::AcceptedEpoch entry;
      auto more = decoder.next(&entry);
      if (!more.is_ok()) return more.status().with_context(path_.string());
      if (!*more) break;
      term_ = std::max(term_, entry.term());
      if (entry.has_work()) promises_[work_key(entry.work())] = {entry, ++counter_};
    }
  }
  std::vector<const Promise*> kept;
  for (const auto& [key, promise] : promises_) kept.push_back(&promise);
  std::sort(kept.begin(), kept.end(), [](const Promise* a, const Promise* b) { return a->order < b->order; });
  if (kept.size() > kept_max_) kept.erase(kept.begin(), kept.end() - static_cast<std::ptrdiff_t>(kept_max_));
  v1::AcceptedEpoch term;
  term.set_term(term_);
  std::string compact = encode_frame(term);
  std::map<std::string, Promise> newest;
  for (const Promise* promise : kept) {
    compact += encode_frame(promise->entry);
    newest[work_key(promise->entry.work())] = *promise;
  }
  promises_ = std::move(newest);
  CRASH_POINT("agent.ledger.before_compaction");
  RETURN_IF_ERROR(write_file_durably(path_, compact, 0600));
  CRASH_POINT("agent.ledger.after_compaction");
  fd_ = Fd(::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  if (!fd_.is_open()) return errno_status("open " + path_.string(), errno);
  return Status::ok();
}

uint64_t EpochLedger::highest_term() const {
  std::lock_guard lock(mutex_);
  return term_;
}

Status EpochLedger::accept_term_locked(uint64_t term) const {
  if (term >= term_) return Status::ok();
  return conflict("this node has obeyed a daemon of term " + std::to_string(term_) + ", newer than " +
                  std::to_string(term));
}

Status EpochLedger::append(const v1::AcceptedEpoch& entry) {
  const std::string bytes = encode_frame(entry);
  const off_t before = ::lseek(fd_.get(), 0, SEEK_END);
  CRASH_POINT("agent.ledger.before_write");
  Status status = write_all(fd_.get(), bytes.data(), bytes.size()).with_context(path_.string());
  CRASH_POINT("agent.ledger.before_sync");
  if (status.is_ok() && ::fdatasync(fd_.get()) != 0) status = errno_status("fsync " + path_.string(), errno);
  CRASH_POINT("agent.ledger.after_sync");
  // Half a promise must not stand in front of the next one.
  if (!status.is_ok() && (before < 0 || ::ftruncate(fd_.get(), before) != 0)) {
    return errno_status("truncate " + path_.string(), errno);
  }
  return status;
}

Status EpochLedger::accept_term(uint64_t term) {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(accept_term_locked(term));
  if (term == term_) return Status::ok();
  v1::AcceptedEpoch entry;
  entry.set_term(term);
  RETURN_IF_ERROR(append(entry));
  term_ = term;
  return Status::ok();
}

Status EpochLedger::accept(const v1::AcceptedEpoch& epoch) {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(accept_term_locked(epoch.term()));
  const std::string key = work_key(epoch.work());
  auto found = promises_.find(key);
  if (found != promises_.end()) {
    const v1::AcceptedEpoch& promised = found->second.entry;
    if (promised.epoch() == epoch.epoch() && promised.gang_id() == epoch.gang_id()) return Status::ok();
    if (promised.epoch() >= epoch.epoch()) {
      return conflict("epoch " + std::to_string(epoch.epoch()) + " is refused: " + holder(promised));
    }
  }
  RETURN_IF_ERROR(append(epoch));
  term_ = std::max(term_, epoch.term());
  promises_[key] = {epoch, ++counter_};
  return Status::ok();
}

Status EpochLedger::finish(const v1::WorkRef& work, uint64_t epoch) {
  std::lock_guard lock(mutex_);
  auto found = promises_.find(work_key(work));
  if (found == promises_.end() || found->second.entry.epoch() != epoch || is_over(found->second.entry)) {
    return Status::ok();
  }
  v1::AcceptedEpoch over = found->second.entry;
  over.clear_gang_id();
  RETURN_IF_ERROR(append(over));
  found->second = {over, ++counter_};
  return Status::ok();
}

Status EpochLedger::check(const v1::WorkRef& work, uint64_t epoch, const std::string& gang_id) const {
  std::lock_guard lock(mutex_);
  auto found = promises_.find(work_key(work));
  if (found == promises_.end()) return conflict("epoch " + std::to_string(epoch) + " was not prepared on this node");
  const v1::AcceptedEpoch& promised = found->second.entry;
  if (promised.epoch() == epoch && promised.gang_id() == gang_id) return Status::ok();
  return conflict("epoch " + std::to_string(epoch) + " of gang " + gang_id + " is refused: " + holder(promised));
}

}  // namespace freshet::agent
