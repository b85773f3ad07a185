// The services of the control plane over a memory store and fakes: enough to fill the route table and to collect
// metrics.
#pragma once

#include "base/random.h"
#include "base/time.h"
#include "daemon/api/services.h"
#include "daemon/sources/fake_source_hub.h"
#include "daemon/store/disk.h"
#include "daemon/store/memory_kv.h"
#include "daemon/store/writer.h"
#include "tests/unit/control/no_agents.h"

namespace freshet::test {

class NoLogs final : public control::LogReader {
 public:
  Result<std::string> read(const std::string&, const std::string&, uint64_t) const override {
    return not_found("there are no logs");
  }
};

class FakeDisk final : public Disk {
 public:
  Result<uint64_t> free_bytes() const override { return free; }
  bool is_failed() const override { return failed; }
  Status recover() override {
    if (free == 0) return resource_exhausted("still full");
    failed = false;
    return Status::ok();
  }

  uint64_t free = uint64_t{10} << 30;
  bool failed = false;
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
  FakeDisk disk;
  control::DiskGuard disk_guard{disk, uint64_t{256} << 20};
  control::Context context{store, clock, random, sources, artifacts, agents,
                           [] {}, 1,     "test", 1000,    15000,     &disk_guard};
  control::PipelineService pipelines{context};
  control::RunService runs{context, logs};
  control::ModelService models{context};
  control::DataService data{context};
  control::SystemService system{context};
  control::ArtifactService artifact_service{context};
  control::AnswerService answers{context};
  control::WebhookService webhooks{context};
  control::GcService gc{context, {}};
  api::Services services{pipelines,
                         runs,
                         models,
                         data,
                         system,
                         artifact_service,
                         answers,
                         webhooks,
                         gc,
                         [] { return std::string(); },
                         [] { return Status::ok(); }};
};

}  // namespace freshet::test
