// How a simulated gang fares, and what it leaves behind.
#pragma once

#include <string>
#include <vector>

#include "base/time.h"
#include "proto/artifact.pb.h"
#include "proto/attempt.pb.h"
#include "proto/replay.pb.h"

namespace freshet::sim {

struct GangFate {
  enum Kind {
    kSucceeds,
    kFails,           // ends with `exit`
    kHangs,           // until its timeout or a stop
    kSupervisorDies,  // and the agent records it as lost
    kCannotStart,
    kLeavesNothing,  // exits with 0 and no output
  };
  Kind kind = kSucceeds;
  v1::ExitRecord exit;  // kFails
  Duration launch = Duration::millis(10), start = Duration::millis(20), work = Duration::millis(300);
  double auc = 0.6;   // of an evaluated candidate
  double loss = 0.5;  // per row; the champion's is 0.51
  enum Replay {
    kSameWeights,
    kOtherWeights,   // by the same numerics: the engine is at fault
    kOtherNumerics,  // and so other weights
  };
  Replay replay = kSameWeights;
};

// Who decides the fates and hears what happens on the nodes.
class GangWatcher {
 public:
  virtual ~GangWatcher() = default;
  virtual GangFate fate(const v1::AttemptSpec&) { return {}; }
  // Whether an agent with something new sends what is not acknowledged again, before its time.
  virtual bool is_impatient() { return false; }
  virtual void on_launched(const v1::AttemptSpec&) {}
  virtual void on_exit(const v1::AttemptSpec&, const v1::ExitRecord&) {}
  virtual void on_acknowledged(const std::string& /*gang_id*/, uint64_t /*sequence*/) {}
  virtual void on_forgotten(const v1::AttemptSpec&) {}
  // An evaluation's or a replay's report, as it will be read.
  virtual void on_report(const v1::AttemptSpec&, const std::string& /*digest*/, const GangFate&) {}
  virtual void on_replay(const v1::AttemptSpec&, const std::string& /*digest*/, const GangFate&,
                         const v1::ReplayReport&) {}
};

// What the ranks of a gang that succeeds have made.
struct GangOutput {
  std::string type;     // "model" or "report"
  std::string content;  // of its one file
  std::string content_sha256;
  std::string manifest;
  std::string digest;
};
std::vector<GangOutput> make_outputs(const v1::AttemptSpec& spec, const GangFate& fate);
v1::ReplayReport make_replay_report(const v1::AttemptSpec& spec, const GangFate& fate);

// Files whose name says "poison" are never accepted: their label is constant.
bool is_poisoned(const std::string& uri);

}  // namespace freshet::sim
