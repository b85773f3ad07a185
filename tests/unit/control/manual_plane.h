// The services of the control plane over a memory store, with a clock that a test sets, also backwards.
#pragma once

#include <map>
#include <string>

#include "base/random.h"
#include "base/sha256.h"
#include "daemon/control/model_service.h"
#include "daemon/control/pipeline_service.h"
#include "daemon/control/promotion.h"
#include "daemon/sources/fake_source_hub.h"
#include "daemon/store/keys.h"
#include "daemon/store/memory_kv.h"
#include "daemon/store/writer.h"
#include "tests/unit/control/no_agents.h"

namespace freshet::control::test {

class ManualClock final : public Clock {
 public:
  Time now() const override { return now_; }
  Time monotonic() const override { return now_; }
  void set(Time now) { now_ = now; }
  void advance(Duration by) { now_ = now_ + by; }

 private:
  Time now_{1'767'225'600'000'000};  // 2026-01-01
};

struct ManualPlane {
  ManualClock clock;
  SeededRandom random{1};
  MemoryKv kv;
  Writer store{kv, clock};
  FakeSourceHub sources;
  MemoryArtifactStore artifacts{&clock};
  freshet::test::NoAgents agents;
  Context context{store, clock, random, sources, artifacts, agents, [] {}, 1, "test"};
  PipelineService pipelines{context};
  ModelService models{context};
};

// The value; ends the test's process with the error's text when there is none.
template <class Value>
Value take(Result<Value> result) {
  CHECK_MSG(result.is_ok(), result.status().to_string());
  return std::move(*result);
}

}  // namespace freshet::control::test
