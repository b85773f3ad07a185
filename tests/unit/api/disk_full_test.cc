// What an almost full and a full disk stop, what they don't, and that both end without a restart.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/sha256.h"
#include "daemon/control/agent_service.h"
#include "daemon/control/placement_reconciler.h"
#include "daemon/control/run_index.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"
#include "tests/unit/api/control_plane.h"

namespace freshet {
namespace {

using testing::HasSubstr;

constexpr uint64_t kReserve = uint64_t{256} << 20;

struct Cluster : test::ControlPlane {
  // A run whose one step waits for a place on a node that has one.
  Cluster() {
    Change change;
    v1::PipelineRecord pipeline;
    pipeline.set_version(1);
    pipeline.mutable_pipeline()->mutable_metadata()->set_project("default");
    pipeline.mutable_pipeline()->mutable_metadata()->set_name("p");
    create(change, keys::pipeline_version("default", "p", 1), pipeline);
    v1::Run run;
    run.set_project("default");
    run.set_id(run_id);
    run.set_pipeline("p");
    run.set_pipeline_version(1);
    run.set_state(v1::Run::QUEUED);
    run.mutable_recipe()->add_steps()->set_name("fit");
    run.mutable_recipe()->mutable_steps(0)->mutable_train();
    run.add_steps()->set_name("fit");
    run.mutable_steps(0)->set_state(v1::StepStatus::READY);
    control::create_run(run, &change);
    v1::NodeRecord node;
    node.set_name("n");
    node.set_slots(4);
    node.set_liveness(v1::NodeRecord::ALIVE);
    create(change, keys::node("n"), node);
    CHECK(store.commit(std::move(change)).is_ok());
  }

  v1::RunView view() { return runs.get_run("default", run_id).value(); }
  Status submit() {
    v1::SubmitRequest request;
    request.set_pipeline("unknown");
    return runs.submit({"admin"}, request).status();
  }
  Status upload(uint64_t size) { return artifact_service.begin_file(Sha256::hex_of("x"), size).status(); }

  const std::string run_id = "0123456789abcdef0123456789abcdef";
};

TEST(DiskFull, below_the_reserve_what_adds_is_refused_with_what_to_do) {
  Cluster cluster;
  EXPECT_EQ(cluster.submit().code(), Code::kNotFound);
  EXPECT_TRUE(cluster.upload(10).is_ok());
  cluster.disk.free = kReserve - 1;
  EXPECT_EQ(cluster.submit().code(), Code::kResourceExhausted);
  EXPECT_EQ(cluster.submit().message(),
            "the daemon's disk is almost full: 255 MiB are free, and 256 MiB are kept (disk_reserve_mb) for what runs. "
            "Free space on the file system of the data directory; nothing is lost, and new work is taken again by "
            "itself");
  EXPECT_EQ(cluster.pipelines.apply({"admin"}, {}, false).status().code(), Code::kResourceExhausted);
  EXPECT_NE(cluster.pipelines.apply({"admin"}, {}, true).status().code(), Code::kResourceExhausted);
  EXPECT_EQ(cluster.upload(0).code(), Code::kResourceExhausted);
}

TEST(DiskFull, upload_must_leave_the_reserve_whole) {
  Cluster cluster;
  cluster.disk.free = kReserve + 1000;
  EXPECT_TRUE(cluster.upload(1000).is_ok());
  EXPECT_EQ(cluster.upload(1001).code(), Code::kResourceExhausted);
}

TEST(DiskFull, below_the_reserve_nothing_is_placed_and_the_run_says_why) {
  Cluster cluster;
  control::PlacementReconciler placement(cluster.context);
  cluster.disk.free = kReserve - 1;
  placement.reconcile(cluster.clock.now());
  EXPECT_EQ(cluster.view().run().steps(0).state(), v1::StepStatus::READY);
  EXPECT_THAT(cluster.view().waiting_reason(), HasSubstr("almost full"));
  cluster.disk.free = kReserve;
  placement.reconcile(cluster.clock.now());
  EXPECT_NE(cluster.view().run().steps(0).state(), v1::StepStatus::READY);
}

TEST(DiskFull, below_the_reserve_what_runs_is_heard_and_cancelled) {
  Cluster cluster;
  control::AgentService agents(cluster.context);
  cluster.disk.free = kReserve - 1;
  v1::AgentFrame hello;
  hello.mutable_hello()->set_node("n");
  std::string node;
  EXPECT_TRUE(agents.on_frame(&node, hello).is_ok());
  EXPECT_TRUE(cluster.runs.cancel({"admin"}, "default", cluster.run_id, "").is_ok());
}

// The daemon can't record that the node is back; the node's lease is none the shorter for that.
TEST(DiskFull, node_whose_hello_cant_be_stored_has_been_heard) {
  Cluster cluster;
  control::AgentService agents(cluster.context);
  cluster.kv.fail_writes(resource_exhausted("full"));
  const Time before = agents.last_heard("n");
  while (cluster.clock.monotonic() <= before) continue;
  v1::AgentFrame hello;
  hello.mutable_hello()->set_node("n");
  std::string node;
  EXPECT_EQ(agents.on_frame(&node, hello).status().code(), Code::kResourceExhausted);
  EXPECT_GT(agents.last_heard("n"), before);
}

TEST(DiskFull, store_that_cant_write_is_recovered_without_a_client) {
  Cluster cluster;
  int wakes = 0;
  control::DiskReconciler loop(cluster.disk, cluster.disk_guard, [&] { ++wakes; });
  Time now{1'000'000};
  EXPECT_EQ(loop.reconcile(now), now + Duration::seconds(1));
  cluster.disk.failed = true;
  cluster.disk.free = 0;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(loop.reconcile(now), now + Duration::seconds(1));
  EXPECT_TRUE(cluster.disk.failed);
  EXPECT_EQ(wakes, 1);
  EXPECT_THAT(cluster.submit().message(), HasSubstr("its store can't write"));
  cluster.disk.free = uint64_t{1} << 40;
  loop.reconcile(now);
  EXPECT_FALSE(cluster.disk.failed);
  EXPECT_EQ(wakes, 2);
  EXPECT_EQ(cluster.submit().code(), Code::kNotFound);
}

}  // namespace
}  // namespace freshet
