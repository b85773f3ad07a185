// GcScan: what a round of garbage collection would take, and why each artifact goes or stays. Reads the store in slices
// of bounded work, each from a snapshot of its own, so that it never holds up the loop; what refers to an artifact
// meanwhile is seen at the end, because the collector's commit compares with the revision at which the scan began.
// Writes nothing. One thread at a time.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "daemon/control/context.h"
#include "daemon/store/tables.h"
#include "proto/api.pb.h"
#include "proto/model.pb.h"
#include "proto/record.pb.h"
#include "scheduler/retention.h"

namespace freshet::control {

// An artifact and what the round does with it; `item.goes` says which.
struct GcArtifact {
  v1::GcItem item;
  bool is_marked = false;  // by an earlier round
  // The pipelines that decided, as they were read: they must not have changed when the decision is carried out.
  std::vector<Precondition> pipelines;
};

class GcScan {
 public:
  // Nothing that was sealed or used within `grace` goes.
  GcScan(Context& context, Duration grace) : context_(context), grace_(grace) {}

  // One slice. True when the scan is complete.
  Result<bool> step(Time now);
  // All of it.
  Status finish(Time now);

  // Revision of the store when the scan began.
  Revision began() const { return began_; }
  // By digest; valid once the scan is complete.
  const std::vector<GcArtifact>& artifacts() const { return artifacts_; }

 private:
  struct Seen {
    scheduler::VersionFacts facts;
    std::string digest;
    std::string run_id;
    std::string report_digest;
    std::string warm_start_version;
    std::string pipeline;
    int64_t created_us = 0;
  };
  struct Story {
    std::set<std::string> versions;  // "flights/3"
    std::string kept;                // why it stays; empty: nothing keeps it
    std::string dropped;             // why its versions do not keep it
    std::set<std::string> pipelines;
  };

  Status begin(const Snapshot& snapshot);
  Status read_versions(const Snapshot& snapshot);
  Status judge_model(const Snapshot& snapshot, Time now);
  Status add_alias_uses(const Snapshot& snapshot);
  Status keep_parts(const Snapshot& snapshot, const Seen& version);
  Status list_live_runs(const Snapshot& snapshot);
  Status read_run(const Snapshot& snapshot, const std::string& key);
  Status read_gangs(const Snapshot& snapshot);
  Status read_artifacts(const Snapshot& snapshot, Time now);
  Status judge_artifact(const Snapshot& snapshot, const Record<v1::ArtifactRecord>& record, Time now);
  void keep(const std::string& digest, const std::string& reason);

  Context& context_;
  const Duration grace_;
  bool has_begun_ = false;
  Revision began_ = 0;
  std::vector<v1::Model> models_;       // still to be read; the last is being read
  std::vector<Seen> versions_;          // of that model, ascending
  std::string after_;                   // where the next slice of a listing goes on
  std::vector<std::string> live_runs_;  // keys, still to be read
  bool has_gangs_ = false;
  std::map<std::string, Record<v1::PipelineRecord>> pipelines_;  // by key
  std::map<std::string, Story> stories_;                         // by digest
  std::vector<GcArtifact> artifacts_;
};

// Bytes of the files that the artifact lists.
uint64_t bytes_of(const v1::ArtifactManifest& manifest);
// Whether the pin is the registry's own, which goes with what it pins; all others keep it.
bool is_version_pin(const std::string& by);

}  // namespace freshet::control
