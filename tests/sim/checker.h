// Checker: the invariants of the store, checked on every batch that reaches the disk and only on what it changes. It
// keeps its own copy of the records that it compares with. The first thing that is wrong is kept; the rest is then not
// looked at. Reads the batches, the agents' launches and what they are told; changes nothing.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "daemon/store/kv.h"
#include "proto/dataset.pb.h"
#include "proto/model.pb.h"
#include "proto/record.pb.h"
#include "proto/run.pb.h"
#include "proto/webhook.pb.h"
#include "tests/sim/recount.h"
#include "tests/sim/sim_world.h"

namespace freshet::sim {

// The due time that a schedule's run was made for, as its cause tells it; empty: it was not.
std::string due_time(const v1::Run& run);

class Checker {
 public:
  explicit Checker(SimWorld& world);

  // "I5: run 3f.. moved from FAILED to RUNNING"; empty: every invariant holds.
  const std::string& broken() const { return broken_; }
  void fail(const std::string& what) {
    if (broken_.empty()) broken_ = what;
  }

  void on_launched(const v1::AttemptSpec& spec);
  void on_acknowledged(const std::string& gang_id, uint64_t sequence);
  void on_forgotten(const v1::AttemptSpec& spec);
  uint64_t collected() const { return collected_.size(); }  // artifacts
  // What is too slow for every batch: the whole audit log, its replay, each version's artifact.
  void check_all();

  // ---- the records, by key ----
  const std::map<std::string, v1::Run>& runs() const { return runs_; }
  const std::map<std::string, v1::Attempt>& attempts() const { return attempts_; }
  const std::map<std::string, v1::Inspection>& inspections() const { return inspections_; }
  const std::map<std::string, v1::EntryRecord>& entries() const { return entries_; }
  const std::map<std::string, v1::TriggerState>& triggers() const { return triggers_; }
  const std::map<std::string, v1::DatasetVersion>& datasets() const { return datasets_; }
  const std::map<std::string, v1::ModelVersion>& versions() const { return versions_; }
  const std::map<std::string, v1::Alias>& aliases() const { return aliases_; }
  const std::vector<v1::AliasMove>& moves() const { return moves_; }
  uint64_t batches() const { return batches_; }
  uint64_t fingerprint() const { return std::hash<std::string>()(audit_digest_); }
  size_t active() const { return active_runs_.size() + active_attempts_.size() + pending_inspections_.size(); }

 private:
  struct Batch;
  void on_batch(const std::vector<KvWrite>& writes);
  void check_log(const Batch& batch);
  void take(const std::string& kind, const std::string& key, const std::optional<std::string>& payload, Batch* batch);
  void take_run(const std::string& key, const std::string& payload);
  void take_attempt(const std::string& key, const std::string& payload);
  void take_version(const std::string& key, const std::string& payload);
  void take_alias(const std::string& key, const std::string& payload);
  void check_touched(const Batch& batch);
  void check_artifacts();
  void check_artifact(const std::string& digest, const std::string& by);

  SimWorld& world_;
  std::string broken_;
  uint64_t batches_ = 0;
  uint64_t revision_ = 0;
  int64_t commit_us_ = 0;
  std::string audit_digest_;
  std::map<std::string, bool> audited_;  // key: whether audited changes write it
  uint64_t term_ = 0;
  std::map<std::string, v1::Run> runs_;
  std::map<std::string, v1::Attempt> attempts_;
  std::map<std::string, std::string> final_attempts_;  // their bytes
  std::map<std::string, uint64_t> newest_epoch_;       // by work
  std::map<std::string, v1::Inspection> inspections_;
  std::map<std::string, v1::EntryRecord> entries_;
  std::map<std::string, v1::TriggerState> triggers_;
  std::map<std::string, uint64_t> runs_of_trigger_;
  std::map<std::string, std::set<std::string>> fired_due_times_;  // by trigger
  std::map<std::string, v1::DatasetVersion> datasets_;
  std::map<std::string, v1::ModelVersion> versions_;
  std::map<std::string, uint64_t> newest_version_;  // by model
  std::map<std::string, v1::Alias> aliases_;
  std::vector<v1::AliasMove> moves_;
  std::set<std::string> artifacts_, collected_;            // digests: that may be used; whose bytes are gone
  std::map<std::string, std::vector<std::string>> needs_;  // digests, by attempt
  std::map<std::string, uint32_t> slots_;                  // by node
  std::set<std::string> dead_nodes_;
  std::map<std::string, std::string> gangs_, events_;
  std::set<std::string> answers_, dead_;       // idempotency keys with their actor; ids of events
  std::string first_event_;                    // that a webhook is told is behind this key
  std::map<std::string, uint64_t> positions_;  // by gang
  std::map<std::string, int> launches_;
  std::set<std::string> active_runs_;                            // that have not ended
  std::set<std::string> active_attempts_, pending_inspections_;  // what they point to
  Recount recount_;
};

}  // namespace freshet::sim
