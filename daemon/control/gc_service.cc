#include "daemon/control/gc_service.h"

namespace freshet::control {
namespace {

// A call has half a minute.
constexpr Duration kAtOnce = Duration::seconds(20);

}  // namespace

Result<v1::GcResponse> GcService::plan(bool all) const {
  const Time now = context_.clock.now();
  GcScan scan(context_, options_.grace);
  RETURN_IF_ERROR(scan.finish(now));
  v1::GcResponse response;
  for (const auto& artifact : scan.artifacts()) {
    const v1::GcItem& item = artifact.item;
    if (item.goes()) {
      response.set_going(response.going() + 1);
      response.set_going_bytes(response.going_bytes() + item.bytes());
    } else {
      response.set_kept(response.kept() + 1);
      response.set_kept_bytes(response.kept_bytes() + item.bytes());
    }
    if (all || item.goes()) *response.add_items() = item;
  }
  for (size_t part = 0; part < ArtifactStore::kSweepParts; ++part) {
    ASSIGN_OR_RETURN(StrayFiles strays, context_.artifacts.sweep(part, now - options_.grace, true));
    response.set_stray_files(response.stray_files() + strays.files);
    response.set_stray_bytes(response.stray_bytes() + strays.bytes);
  }
  return response;
}

Result<v1::GcResponse> GcService::run(const Caller& caller, const v1::GcRequest& request) {
  GcRound round(context_, options_, caller.name, request.reason());
  const Time until = context_.clock.monotonic() + kAtOnce;
  bool is_over = false;
  while (!is_over && context_.clock.monotonic() < until) {
    ASSIGN_OR_RETURN(is_over, round.step(context_.clock.now()));
  }
  v1::GcResponse done = round.done();
  done.set_unfinished(!is_over);
  RETURN_IF_ERROR(commit_answered(context_, is_over ? round.end(context_.clock.now()) : Change(), caller, done));
  return done;
}

}  // namespace freshet::control
