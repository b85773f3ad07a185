// Recount: I12, that what indexes and counts of runs say is what a recount of the records gives. It follows the batches
// and looks only at the runs that one touches. Part of the Checker.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "proto/run.pb.h"

namespace freshet::sim {

class Recount {
 public:
  // One write of a batch. false: neither an entry of an index of runs nor a count, nothing was done. Adds the runs that
  // it concerns to `runs`.
  bool take(const std::string& key, const std::optional<std::string>& payload, std::set<std::string>* runs);
  // After the whole batch: what is wrong about these runs or about the counts that changed; empty: nothing.
  std::string difference(const std::set<std::string>& touched, const std::map<std::string, v1::Run>& runs);

 private:
  std::map<std::string, std::string> targets_;           // of each entry
  std::map<std::string, std::set<std::string>> of_run_;  // the entries that point to it
  std::map<std::string, uint64_t> counted_, kept_;       // by counted prefix
  std::set<std::string> changed_;                        // prefixes, in this batch
};

}  // namespace freshet::sim
