// GcRound: one round of garbage collection, step by step. What a crash leaves behind after any step is either a whole
// artifact, or a record that says it is going, which the next round carries out:
//   1. mark: the record becomes MARKED, in a commit that fails if anything has come to refer to the artifact. Until the
//      next step a reference or a pin takes the mark back, also after a crash;
//   2. collect: the record becomes REMOVING, unless the mark was taken back; from here on nothing may refer to it. The
//      artifact's seal and pins go, so it no longer exists for anybody. The record moves to where those of collected
//      artifacts are kept;
//   3. sweep: files that no artifact has, and that are older than the grace period, are removed;
//   4. what is left is counted, for /metrics: its owner commits end().
// Owned by whoever runs it, one thread. Rounds of several owners may run at once: each mark and each finish is won by
// one of them.
#pragma once

#include <optional>
#include <string>

#include "daemon/control/context.h"
#include "daemon/control/gc_scan.h"
#include "proto/api.pb.h"

namespace freshet::control {

struct GcOptions {
  Duration interval = Duration::seconds(3600);
  Duration grace = Duration::seconds(86'400);
};

class GcRound {
 public:
  // `actor` and `reason` are for the audit log; the reason is put behind each artifact's own and may be empty.
  GcRound(Context& context, const GcOptions& options, std::string actor, std::string reason)
      : context_(context),
        options_(options),
        actor_(std::move(actor)),
        reason_(std::move(reason)),
        scan_(context, options.grace) {}

  // A bounded piece of work; true when the round is over. An error ends the round; what is done stays done.
  Result<bool> step(Time now);
  // To be committed once the round is over: what it left.
  Change end(Time now) const;
  // What went so far.
  const v1::GcResponse& done() const { return done_; }

 private:
  enum class Stage { kUnrecorded, kScan, kMark, kCollect, kSweep };

  Status mark_unrecorded(Time now);
  // Acts on the next few artifacts; true when all have had their turn.
  Result<bool> for_some(Status (GcRound::*act)(const GcArtifact&, Time), Time now);
  Status mark(const GcArtifact& artifact, Time now);
  Status collect(const GcArtifact& artifact, Time now);
  Status begin_removal(const GcArtifact& artifact);
  Status finish(const std::string& digest);
  // Never ok: what is kept is not collected.
  Status keep(const std::string& digest, const std::string& reason);
  Result<Record<v1::ArtifactRecord>> record_of(const Snapshot& snapshot, const std::string& digest) const;
  Status check_pins(const std::string& digest) const;
  Change change_of(const GcArtifact& artifact, const std::string& verb) const;

  Context& context_;
  const GcOptions options_;
  const std::string actor_;
  const std::string reason_;
  GcScan scan_;
  Stage stage_ = Stage::kUnrecorded;
  size_t next_ = 0;  // artifact to mark, then to collect, then part to sweep
  v1::GcResponse done_;
};

}  // namespace freshet::control
