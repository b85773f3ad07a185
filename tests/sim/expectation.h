// The second model: what must be in the end, from what the outside did and what gangs reported, without any of the
// code that decides. It hears of files, commits, requests that were sent or acknowledged, and of how gangs ended, and
// is asked once, when all is quiet. It shares nothing with control; rules it needs are written down here again.
#pragma once

#include <map>
#include <set>
#include <string>

#include "proto/replay.pb.h"
#include "tests/sim/checker.h"

namespace freshet::sim {

class Expectation {
 public:
  // ---- what the outside does ----
  void file_present(const std::string& uri, const std::string& sha256) { files_[uri] = sha256; }
  void file_removed(const std::string& uri) { files_.erase(uri); }
  void commit(const std::string& id) {
    head_ = id;
    ++commits_;
  }
  void submit_sent(const std::string& key) { keys_sent_.insert(key); }
  // "" or what is wrong with the answer.
  std::string submit_acknowledged(const std::string& key, const std::string& run_id);
  void cancel_sent(const std::string& run_id) { cancels_.insert(run_id); }
  void promote_sent(const std::string& model, uint64_t version) { promotes_[model].insert(version); }
  void rollback_sent(const std::string& model) { rollbacks_.insert(model); }
  void decision_sent() { ++decisions_; }
  void replay_sent(const std::string& version) { replays_sent_.insert(version); }

  // ---- what happens on the nodes ----
  void exited(const v1::AttemptSpec& spec, const v1::ExitRecord& exit, bool has_output);
  void reported(const std::string& digest, const std::string& champion, double auc, double loss);

  // "" or what is wrong with it: `is_engines_fault` is all that may make its weights others.
  std::string replayed(const std::string& digest, const v1::ReplayReport& report, bool is_engines_fault);

  // The first difference between the store and what must be; empty: none.
  std::string check(const Checker& seen) const;

 private:
  std::string check_runs(const Checker& seen) const;
  std::string check_run(const Checker& seen, const v1::Run& run) const;
  std::string check_replay(const v1::Run& run, const v1::StepStatus& step, bool* is_refuted) const;
  bool has_equal_replay(const v1::Run& run) const;
  std::string check_entries(const Checker& seen) const;
  std::string check_triggers(const Checker& seen) const;
  std::string check_models(const Checker& seen) const;
  std::string reported_champion(const std::string& digest) const;

  std::map<std::string, std::string> files_;  // those that lie in the directory now
  std::string head_;
  uint64_t commits_ = 0, decisions_ = 0;
  std::set<std::string> keys_sent_, cancels_, rollbacks_, replays_sent_;
  std::map<std::string, std::string> acknowledged_;     // key: run
  std::map<std::string, std::set<uint64_t>> promotes_;  // by model
  std::map<std::string, uint64_t> users_failures_;      // by work
  struct Report {
    std::string champion;
    double auc = 0, loss = 0;
  };
  std::map<std::string, Report> reports_;            // by digest
  std::map<std::string, v1::ReplayReport> replays_;  // by digest
};

}  // namespace freshet::sim
