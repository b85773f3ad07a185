// The control services that the handlers call, and the one function that fills the route table. Handlers parse, call
// one service and answer; they hold no state and never touch the store.
#pragma once

#include <functional>

#include "daemon/control/answers.h"
#include "daemon/control/artifact_service.h"
#include "daemon/control/backups.h"
#include "daemon/control/data_service.h"
#include "daemon/control/gc_service.h"
#include "daemon/control/model_service.h"
#include "daemon/control/pipeline_service.h"
#include "daemon/control/run_service.h"
#include "daemon/control/system_service.h"
#include "daemon/control/webhook_service.h"
#include "daemon/http/router.h"

namespace freshet::api {

struct Services {
  control::PipelineService& pipelines;
  control::RunService& runs;
  control::ModelService& models;
  control::DataService& data;
  control::SystemService& system;
  control::ArtifactService& artifacts;
  control::AnswerService& answers;
  control::WebhookService& webhooks;
  control::GcService& gc;
  // Body of /metrics in Prometheus' text format.
  std::function<Result<std::string>()> metrics_text;
  // Ok while new work is taken; else why not, as admission says it.
  std::function<Status()> ready;
  control::Backups* backups = nullptr;  // null: there are no files to copy
};

// `services` and `agents` outlive the router.
void add_routes(http::Router& router, const Services& services, http::WebSocketListener& agents);

// One resource each; called by add_routes.
void add_pipeline_routes(http::Router& router, const Services& services);
void add_run_routes(http::Router& router, const Services& services);
void add_model_routes(http::Router& router, const Services& services);
void add_data_routes(http::Router& router, const Services& services);
void add_artifact_routes(http::Router& router, const Services& services);
void add_gc_routes(http::Router& router, const Services& services);
void add_system_routes(http::Router& router, const Services& services);
void add_webhook_routes(http::Router& router, const Services& services);

// ?project=, ?page_size= and ?page_token= as every listing takes them.
std::string project_of(const http::Request& request);
Result<control::PageRequest> page_of(const http::Request& request);
// The query names of a listing, with more of its own.
std::vector<std::string> list_query(std::vector<std::string> more = {});

}  // namespace freshet::api
