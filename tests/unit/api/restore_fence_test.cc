// A restored store must not repeat a term or an epoch that an agent has seen from the daemon of the time after the
// backup.
#include "daemon/control/restore_fence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/control/run_index.h"
#include "daemon/control/work.h"
#include "daemon/store/audit.h"
#include "daemon/store/keys.h"
#include "daemon/store/memory_kv.h"
#include "daemon/store/tables.h"
#include "daemon/store/writer.h"

namespace freshet::control {
namespace {

constexpr Time kBackedUp{1'767'225'600'000'000};
constexpr uint64_t kEpoch = 3;

struct RestoredStore {
  // One run with a step that runs, one that waits and one that is done, and an inspection that runs.
  RestoredStore() {
    Change change;
    v1::DaemonTerm daemon_term;
    daemon_term.set_term(7);
    create(change, keys::daemon_term(), daemon_term);
    v1::Run run;
    run.set_project("default");
    run.set_id("r");
    run.set_state(v1::Run::RUNNING);
    for (auto [name, state, epoch] :
         {std::tuple("done", v1::StepStatus::SUCCEEDED, kEpoch), std::tuple("runs", v1::StepStatus::RUNNING, kEpoch),
          std::tuple("waits", v1::StepStatus::WAITING, uint64_t{0})}) {
      auto* recipe_step = run.mutable_recipe()->add_steps();
      recipe_step->set_name(name);
      recipe_step->mutable_train();
      auto* step = run.add_steps();
      step->set_name(name);
      step->set_state(state);
      step->set_epoch(epoch);
    }
    create_run(run, &change);
    v1::Inspection inspection;
    inspection.set_project("default");
    inspection.set_id("i");
    inspection.set_state(v1::Inspection::RUNNING);
    inspection.set_epoch(kEpoch);
    create(change, keys::inspection("default", "i"), inspection);
    put_reference(change, keys::pending_inspection("default", "i"), keys::inspection("default", "i"));
    for (const v1::WorkRef& work : {step_work(run, "runs"), inspection_work(inspection)}) {
      v1::Attempt attempt;
      *attempt.mutable_work() = work;
      attempt.set_epoch(kEpoch);
      attempt.set_gang_id(keys::work(work));
      attempt.set_state(v1::Attempt::RUNNING);
      create(change, keys::attempt(work, kEpoch), attempt);
      put_reference(change, keys::active_attempt(work, kEpoch), keys::attempt(work, kEpoch));
    }
    CHECK(store.commit(std::move(change)).is_ok());
  }

  uint64_t term() { return get<v1::DaemonTerm>(*store.snapshot(), keys::daemon_term()).value()->value.term(); }
  v1::Run run() { return get<v1::Run>(*store.snapshot(), keys::run("default", "r")).value()->value; }
  v1::Inspection inspection() {
    return get<v1::Inspection>(*store.snapshot(), keys::inspection("default", "i")).value()->value;
  }

  SystemClock clock;
  MemoryKv kv;
  Writer store{kv, clock};
};

TEST(RestoreFence, unfinished_work_is_ready_at_epochs_that_nobody_has_seen) {
  RestoredStore restored;
  ASSERT_TRUE(fence_restored(restored.store, kBackedUp + Duration::seconds(5), kBackedUp).is_ok());
  const v1::Run run = restored.run();
  EXPECT_EQ(run.steps(0).epoch(), kEpoch);
  EXPECT_EQ(run.steps(1).epoch(), kEpoch + 1005);
  EXPECT_EQ(run.steps(1).state(), v1::StepStatus::READY);
  EXPECT_EQ(run.steps(1).infrastructure_failures(), 0u);
  EXPECT_EQ(run.steps(2).epoch(), 1005u);
  EXPECT_EQ(run.steps(2).state(), v1::StepStatus::WAITING);
  EXPECT_EQ(restored.inspection().epoch(), kEpoch + 1005);
  EXPECT_EQ(restored.inspection().state(), v1::Inspection::PENDING);
  for (const std::string& entry : run_index(run)) {
    EXPECT_TRUE(get_reference(*restored.store.snapshot(), entry).value()) << entry;
  }
  EXPECT_TRUE(active_attempts(*restored.store.snapshot())->empty());
  EXPECT_TRUE(verify_audit(*restored.store.snapshot()).is_ok());
}

TEST(RestoreFence, term_is_past_every_start_since_the_backup) {
  RestoredStore restored;
  ASSERT_TRUE(fence_restored(restored.store, kBackedUp + Duration::seconds(5), kBackedUp).is_ok());
  EXPECT_EQ(restored.term(), 1'767'225'605u);
  // A clock that is wrong by years gives no smaller one.
  RestoredStore wrong_clock;
  ASSERT_TRUE(fence_restored(wrong_clock.store, Time{1'000'000}, kBackedUp).is_ok());
  EXPECT_EQ(wrong_clock.term(), 7u + (1 << 20));
  EXPECT_EQ(wrong_clock.inspection().epoch(), kEpoch + 1000);
}

TEST(RestoreFence, same_backup_restored_again_lands_behind_the_first_time) {
  RestoredStore first;
  RestoredStore second;
  ASSERT_TRUE(fence_restored(first.store, kBackedUp + Duration::seconds(60), kBackedUp).is_ok());
  ASSERT_TRUE(fence_restored(second.store, kBackedUp + Duration::seconds(90), kBackedUp).is_ok());
  EXPECT_GE(second.term(), first.term() + 30);
  EXPECT_GE(second.run().steps(1).epoch(), first.run().steps(1).epoch() + 30);
}

}  // namespace
}  // namespace freshet::control
