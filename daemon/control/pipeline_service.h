// PipelineService: what operators apply. All documents of a request are validated together and committed together or
// not at all; a changed pipeline becomes its next version. Also lists pipelines, sources and triggers, and pauses
// triggers. Called by API handlers, from any thread.
#pragma once

#include <string>

#include "daemon/control/answers.h"
#include "daemon/control/context.h"
#include "daemon/control/paging.h"
#include "proto/api.pb.h"

namespace freshet::control {

class PipelineService {
 public:
  explicit PipelineService(Context& context) : context_(context) {}

  // `dry_run` reports what would change and writes nothing (diff).
  Result<v1::ApplyResponse> apply(const Caller& caller, v1::ApplyRequest request, bool dry_run);

  Result<v1::ListPipelinesResponse> list_pipelines(const std::string& project, const PageRequest& page);
  Result<v1::PipelineRecord> get_pipeline(const std::string& project, const std::string& name);
  Result<v1::ListSourcesResponse> list_sources(const std::string& project, const PageRequest& page);
  Result<v1::ListTriggersResponse> list_triggers(const std::string& project, const PageRequest& page);
  Result<v1::TriggerView> set_paused(const Caller& caller, const std::string& project, const std::string& name,
                                     bool paused, const std::string& reason);

 private:
  Context& context_;
};

}  // namespace freshet::control
