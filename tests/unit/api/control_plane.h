// The services of the control plane over a memory store and fakes: enough to fill the route table and to collect
// metrics.
#pragma once

#include "base/random.h"
#include "base/time.h"
#include "daemon/api/services.h"
#include "daemon/sources/fake_source_hub.h"
#include "daemon/store/memory_kv.h"
#include "daemon/store/writer.h"

namespace freshet::test {

class NoAgents final : public control::AgentLink {
 public:
  bool send(const std::string&, const v1::DaemonFrame&) override { return false; }
  bool connected(const std::string&) const override { return false; }
};

class NoLogs final : public control::LogReader {
 public:
  Result<std::string> read(const std::string&, const std::string&, uint64_t) const override {
    return not_found("there are no logs");
  }
};

struct ControlPlane {
  SystemClock clock;
  SeededRandom random{1};
  MemoryKv kv;
  Writer store{kv, clock};
  FakeSourceHub sources;
  MemoryArtifactStore artifacts;
  NoAgents agents;
  NoLogs logs;
  control::Context context{store, clock, random, sources, artifacts, agents, [] {}, 1, "test"};
  control::PipelineService pipelines{context};
  control::RunService runs{context, logs};
  control::ModelService models{context};
  control::DataService data{context};
  control::SystemService system{context};
  control::ArtifactService artifact_service{context};
  api::Services services{pipelines,
                         runs,
                         models,
                         data,
                         system,
                         artifact_service,
                         [] { return std::string(); },
                         [] { return Status::ok(); }};
};

}  // namespace freshet::test
