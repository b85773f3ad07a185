// GcService: garbage collection as a person asks for it: what would go and why, and a round now. Called by API
// handlers, from any thread.
#pragma once

#include "daemon/control/answers.h"
#include "daemon/control/context.h"
#include "daemon/control/gc_round.h"
#include "proto/api.pb.h"

namespace freshet::control {

class GcService {
 public:
  GcService(Context& context, GcOptions options) : context_(context), options_(options) {}

  // What a round would take now, and with `all` also what it would leave, each with the reason. Changes nothing.
  Result<v1::GcResponse> plan(bool all) const;
  // A round, or as much of it as a call has time for; the answer says what went, and whether there is more. It is kept
  // at the end: a call that is repeated after a crash in between does what is left, and answers with that.
  Result<v1::GcResponse> run(const Caller& caller, const v1::GcRequest& request);

 private:
  Context& context_;
  const GcOptions options_;
};

}  // namespace freshet::control
