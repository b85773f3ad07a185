#include "tests/sim/recount.h"

#include "base/check.h"
#include "daemon/control/run_index.h"
#include "daemon/store/keys.h"
#include "proto/record.pb.h"

namespace freshet::sim {

bool Recount::take(const std::string& key, const std::optional<std::string>& payload, std::set<std::string>* runs) {
  static const std::set<std::string> kKinds = {"run_by_time",           "run_by_pipeline", "run_by_state",
                                               "run_by_pipeline_state", "due_run",         "ready_step"};
  const std::string counts = keys::count("");
  if (key.starts_with(counts)) {
    v1::Counter counter;
    CHECK(!payload || counter.ParseFromString(*payload));
    const std::string prefix = key.substr(counts.size());
    kept_[prefix] = counter.value();
    changed_.insert(prefix);
    return true;
  }
  if (!kKinds.contains(key.substr(0, key.find('/')))) return false;
  auto known = targets_.find(key);
  const std::string prefix(keys::counted_prefix(key));
  if (known != targets_.end()) {
    runs->insert(known->second);
    of_run_[known->second].erase(key);
    targets_.erase(known);
    --counted_[prefix];
  }
  if (payload) {
    runs->insert(*payload);
    of_run_[*payload].insert(key);
    targets_[key] = *payload;
    ++counted_[prefix];
  }
  if (!prefix.empty()) changed_.insert(prefix);
  return true;
}

std::string Recount::difference(const std::set<std::string>& touched, const std::map<std::string, v1::Run>& runs) {
  for (const std::string& key : touched) {
    auto run = runs.find(key);
    if (run == runs.end()) return "I12: an index points to " + key + ", which is not stored";
    const std::set<std::string> recounted = control::run_index(run->second);
    for (const std::string& entry : recounted) {
      if (!of_run_[key].contains(entry)) return "I12: there is no index entry " + entry;
    }
    for (const std::string& entry : of_run_[key]) {
      if (!recounted.contains(entry)) return "I12: there should be no index entry " + entry;
    }
  }
  for (const std::string& prefix : changed_) {
    if (kept_[prefix] == counted_[prefix]) continue;
    return "I12: " + std::to_string(kept_[prefix]) + " keys are counted under " + prefix + ", not " +
           std::to_string(counted_[prefix]);
  }
  changed_.clear();
  return "";
}

}  // namespace freshet::sim
