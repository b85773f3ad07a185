#include "daemon/control/gc_round.h"

#include <algorithm>

#include "base/crash_point.h"
#include "base/log.h"
#include "daemon/control/artifact_use.h"
#include "daemon/store/keys.h"

namespace freshet::control {
namespace {

constexpr size_t kArtifactsPerStep = 8;
constexpr size_t kPartsPerStep = 16;

Status count_up(const Snapshot& snapshot, const char* name, uint64_t by, Change* change) {
  const std::string key = keys::counter(name);
  ASSIGN_OR_RETURN(auto stored, get<v1::Counter>(snapshot, key));
  v1::Counter counter;
  counter.set_value((stored ? stored->value.value() : 0) + by);
  expect(*change, key, stored ? stored->revision : 0);
  put(*change, key, counter);
  return Status::ok();
}

}  // namespace

Result<bool> GcRound::step(Time now) {
  switch (stage_) {
    case Stage::kUnrecorded:
      RETURN_IF_ERROR(mark_unrecorded(now));
      stage_ = Stage::kScan;
      return false;
    case Stage::kScan: {
      ASSIGN_OR_RETURN(bool is_complete, scan_.step(now));
      if (is_complete) stage_ = Stage::kMark;
      return false;
    }
    case Stage::kMark: {
      ASSIGN_OR_RETURN(bool is_complete, for_some(&GcRound::mark, now));
      if (is_complete) stage_ = Stage::kCollect;
      return false;
    }
    case Stage::kCollect: {
      ASSIGN_OR_RETURN(bool is_complete, for_some(&GcRound::collect, now));
      if (is_complete) stage_ = Stage::kSweep;
      return false;
    }
    case Stage::kSweep:
      for (size_t taken = 0; next_ < ArtifactStore::kSweepParts && taken < kPartsPerStep; ++next_, ++taken) {
        ASSIGN_OR_RETURN(StrayFiles strays, context_.artifacts.sweep(next_, now - options_.grace, false));
        done_.set_stray_files(done_.stray_files() + strays.files);
        done_.set_stray_bytes(done_.stray_bytes() + strays.bytes);
      }
      return next_ == ArtifactStore::kSweepParts;
  }
  return true;
}

Result<bool> GcRound::for_some(Status (GcRound::*act)(const GcArtifact&, Time), Time now) {
  const auto& artifacts = scan_.artifacts();
  for (size_t taken = 0; next_ < artifacts.size() && taken < kArtifactsPerStep; ++next_) {
    if (!artifacts[next_].item.goes() && !artifacts[next_].is_marked) continue;
    ++taken;
    Status done = (this->*act)(artifacts[next_], now);
    // Somebody came to refer to it, or pinned it, or another round has it: the next round looks at it again.
    if (!done.is_ok() && done.code() != Code::kConflict) return done;
  }
  if (next_ < artifacts.size()) return false;
  next_ = 0;
  return true;
}

// Sealed, but its record was never committed: nobody can refer to it. It gets a record, so that all artifacts go alike.
Status GcRound::mark_unrecorded(Time now) {
  ASSIGN_OR_RETURN(auto sealed, context_.artifacts.sealed());
  auto snapshot = context_.store.snapshot();
  for (const auto& artifact : sealed) {
    if (now - artifact.sealed < options_.grace) continue;
    const std::string key = keys::artifact(artifact.digest);
    ASSIGN_OR_RETURN(auto known, get<v1::ArtifactRecord>(*snapshot, key));
    if (known) continue;
    v1::ArtifactRecord record;
    record.set_digest(artifact.digest);
    record.set_state(v1::ArtifactRecord::MARKED);
    record.set_collected_us(now.us);
    record.set_collected_reason("its upload never ended");
    ASSIGN_OR_RETURN(std::string bytes, context_.artifacts.manifest(artifact.digest));
    ASSIGN_OR_RETURN(*record.mutable_manifest(), check_manifest(artifact.digest, bytes));
    Change change;
    change.actor = actor_;
    change.action = "mark artifact " + artifact.digest;
    change.reason = record.collected_reason();
    create(change, key, record);
    CRASH_POINT("gc.unrecorded.before_commit");
    Status committed = context_.commit(std::move(change)).status();
    CRASH_POINT("gc.unrecorded.after_commit");
    if (!committed.is_ok() && committed.code() != Code::kConflict) return committed;
  }
  return Status::ok();
}

Result<Record<v1::ArtifactRecord>> GcRound::record_of(const Snapshot& snapshot, const std::string& digest) const {
  ASSIGN_OR_RETURN(auto record, get<v1::ArtifactRecord>(snapshot, keys::artifact(digest)));
  if (!record) return conflict("artifact " + digest + " has gone already");
  return std::move(*record);
}

Status GcRound::check_pins(const std::string& digest) const {
  ASSIGN_OR_RETURN(auto pins, context_.artifacts.pins(digest));
  for (const auto& by : pins) {
    if (!is_version_pin(by)) return conflict("artifact " + digest + " is pinned by " + by);
  }
  return Status::ok();
}

// Holds only if what decided about the artifact is as it was.
Change GcRound::change_of(const GcArtifact& artifact, const std::string& verb) const {
  Change change;
  change.actor = actor_;
  change.action = verb + " artifact " + artifact.item.digest();
  change.reason = artifact.item.reason() + (reason_.empty() ? "" : " (" + reason_ + ")");
  change.preconditions = artifact.pipelines;
  return change;
}

Status GcRound::mark(const GcArtifact& artifact, Time now) {
  const std::string& digest = artifact.item.digest();
  if (!artifact.item.goes()) return keep(digest, artifact.item.reason());
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto record, record_of(*snapshot, digest));
  if (record.value.state() != v1::ArtifactRecord::PRESENT) return Status::ok();
  ASSIGN_OR_RETURN(auto use, get<v1::ArtifactUse>(*snapshot, keys::artifact_use(digest)));
  if (record.revision > scan_.began() || (use && use->revision > scan_.began())) {
    return conflict("artifact " + digest + " has been used since");
  }
  RETURN_IF_ERROR(check_pins(digest));
  record.value.set_state(v1::ArtifactRecord::MARKED);
  record.value.set_collected_us(now.us);
  record.value.set_collected_reason(artifact.item.reason());
  Change change = change_of(artifact, "mark");
  update(change, record);
  expect(change, keys::artifact_use(digest), use ? use->revision : 0);
  CRASH_POINT("gc.mark.before_commit");
  RETURN_IF_ERROR(context_.commit(std::move(change)).status());
  CRASH_POINT("gc.mark.after_commit");
  return Status::ok();
}

Status GcRound::collect(const GcArtifact& artifact, Time) {
  const std::string& digest = artifact.item.digest();
  if (!artifact.item.goes()) return Status::ok();
  RETURN_IF_ERROR(begin_removal(artifact));
  RETURN_IF_ERROR(context_.artifacts.remove(digest, is_version_pin));
  CRASH_POINT("gc.finish.before_commit");
  RETURN_IF_ERROR(finish(digest));
  CRASH_POINT("gc.finish.after_commit");
  *done_.add_items() = artifact.item;
  done_.set_going(done_.going() + 1);
  done_.set_going_bytes(done_.going_bytes() + artifact.item.bytes());
  log_info("gc", "collected artifact " + digest + " (" + std::to_string(artifact.item.bytes()) +
                     " bytes): " + artifact.item.reason());
  return Status::ok();
}

Status GcRound::begin_removal(const GcArtifact& artifact) {
  const std::string& digest = artifact.item.digest();
  ASSIGN_OR_RETURN(auto record, record_of(*context_.store.snapshot(), digest));
  if (record.value.state() == v1::ArtifactRecord::REMOVING) return Status::ok();
  if (record.value.state() == v1::ArtifactRecord::PRESENT) {
    return conflict("artifact " + digest + " has been used since it was marked");
  }
  if (Status pinned = check_pins(digest); !pinned.is_ok()) {
    return pinned.code() == Code::kConflict ? keep(digest, pinned.message()) : pinned;
  }
  record.value.set_state(v1::ArtifactRecord::REMOVING);
  Change change = change_of(artifact, "collect");
  update(change, record);
  CRASH_POINT("gc.removal.before_commit");
  RETURN_IF_ERROR(context_.commit(std::move(change)).status());
  CRASH_POINT("gc.removal.after_commit");
  return Status::ok();
}

// Takes a mark back, of this round or of an earlier one that did not end.
Status GcRound::keep(const std::string& digest, const std::string& reason) {
  ASSIGN_OR_RETURN(auto record, record_of(*context_.store.snapshot(), digest));
  if (record.value.state() == v1::ArtifactRecord::MARKED) {
    unmark(&record.value);
    Change change;
    change.actor = actor_;
    change.action = "keep artifact " + digest;
    change.reason = reason;
    update(change, record);
    RETURN_IF_ERROR(context_.commit(std::move(change)).status());
  }
  return conflict("artifact " + digest + " stays: " + reason);
}

Status GcRound::finish(const std::string& digest) {
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto record, record_of(*snapshot, digest));
  if (record.value.state() != v1::ArtifactRecord::REMOVING) return conflict("artifact " + digest + " is here again");
  Change change;
  change.actor = actor_;
  change.action = "collected artifact " + digest;
  change.reason = record.value.collected_reason();
  expect(change, record);
  erase(change, record.key);
  erase(change, keys::artifact_use(digest));
  record.value.set_state(v1::ArtifactRecord::COLLECTED);
  put(change, keys::collected_artifact(digest), record.value);
  RETURN_IF_ERROR(count_up(*snapshot, "gc_artifacts", 1, &change));
  RETURN_IF_ERROR(count_up(*snapshot, "gc_bytes", bytes_of(record.value.manifest()), &change));
  return context_.commit(std::move(change)).status();
}

Change GcRound::end(Time now) const {
  if (done_.stray_files() > 0) {
    log_info("gc", "removed " + std::to_string(done_.stray_files()) + " files without an artifact (" +
                       std::to_string(done_.stray_bytes()) + " bytes)");
  }
  v1::GcRoundRecord record;
  record.set_ended_us(now.us);
  for (const auto& artifact : scan_.artifacts()) {
    record.set_artifacts(record.artifacts() + 1);
    record.set_bytes(record.bytes() + artifact.item.bytes());
  }
  record.set_artifacts(record.artifacts() - done_.going());
  record.set_bytes(record.bytes() - done_.going_bytes());
  Change change;
  change.actor = actor_;
  change.action = "end a round of garbage collection";
  change.reason = reason_;
  put(change, keys::gc_round(), record);
  return change;
}

}  // namespace freshet::control
