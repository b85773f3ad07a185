// A train task of a tabular model that the worker's GPU computes, as the task itself is asked for it.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>

#include "base/file.h"
#include "base/sha256.h"
#include "proto/json.h"
#include "proto/replay.pb.h"
#include "tests/unit/worker/temp_dir.h"
#include "tests/unit/worker_gpu/thread_gang.h"
#include "worker/checkpoint/manifest.h"
#include "worker/gpu/gpu_accelerator.h"
#include "worker/report/reporter.h"
#include "worker/task/task.h"

namespace freshet::worker {
namespace {

// Keeps the losses that a task reports, by their steps.
class LossReporter final : public Reporter {
 public:
  Status milestone(std::string_view) override { return Status::ok(); }
  Status produced(const v1::ProducedOutput&) override { return Status::ok(); }
  void metric(std::string_view name, double value, int64_t step) override {
    if (name == "loss") losses[step] = value;
  }
  std::map<int64_t, double> losses;
};

class TabularAcceleratorTest : public testing::Test {
 protected:
  TabularAcceleratorTest() {
    auto made = GpuAccelerator::create(0, 1, nullptr, {});
    CHECK(made.is_ok() && *made != nullptr);
    gpu_ = *std::move(made);
    std::string text = "user,tags,x,y\n";
    for (int i = 0; i < 57; ++i) {
      text += "u" + std::to_string(i * i % 7) + ",";
      if (i % 4 > 0) text += "t" + std::to_string(i % 3);
      if (i % 4 > 1) text += ";t" + std::to_string(i % 5);
      text += "," + std::to_string(std::sin(i)) + "," + (i * i % 7 > 2 ? "1" : "0") + "\n";
    }
    const auto file = directory_.path() / "data" / "a.csv";
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
    const auto digest = digest_file(file);
    CHECK(digest.is_ok());
    auto* entry = data_.add_entries();
    entry->set_uri("a.csv");
    entry->set_size(digest->size);
    entry->set_sha256(digest->sha256);
    data_.set_source_uri("file://" + file.parent_path().string());
  }

  // Two passes of four steps, the fourth of 9 rows.
  v1::AttemptSpec attempt(const std::string& name, v1::TabularModel::Compute compute) {
    v1::AttemptSpec made;
    made.set_seed(3);
    made.set_output_dir((directory_.path() / name).string());
    made.set_checkpoint_dir((directory_.path() / (name + ".checkpoints")).string());
    v1::TrainStep* step = made.mutable_train()->mutable_step();
    step->set_checkpoint_every_steps(2);
    step->set_epochs(2);
    auto* tabular = step->mutable_tabular();
    tabular->set_compute(compute);
    for (const char* column : {"user", "tags"}) {
      auto* feature = tabular->add_features();
      feature->set_column(column);
      feature->set_kind(v1::Feature::CATEGORICAL);
      feature->set_embedding_dim(8);
    }
    tabular->mutable_features(1)->set_multi_valued(true);
    tabular->mutable_features(1)->set_separator(";");
    auto* number = tabular->add_features();
    number->set_column("x");
    number->set_kind(v1::Feature::NUMERIC);
    tabular->mutable_label()->set_column("y");
    tabular->mutable_label()->set_task(v1::Label::BINARY);
    tabular->add_hidden_layers(8);
    step->mutable_batch()->set_micro_batch_rows(8);
    step->mutable_batch()->set_micro_batches(2);
    step->mutable_optimizer()->set_learning_rate(0.01);
    step->mutable_optimizer()->mutable_embeddings()->set_learning_rate(0.05);
    *made.mutable_train()->mutable_data() = data_;
    return made;
  }

  v1::CheckpointInfo train(const v1::AttemptSpec& wanted, Accelerator* accelerator) {
    SingleCommunicator comm;
    const Status status = run_train({wanted, comm, reporter_, 1, accelerator});
    EXPECT_TRUE(status.is_ok()) << status.to_string();
    auto manifest = verify_artifact(std::filesystem::path(wanted.output_dir()) / "model");
    CHECK_MSG(manifest.is_ok(), manifest.status().to_string());
    return manifest->checkpoint();
  }

  v1::ReplayReport replay(const std::string& name, const v1::AttemptSpec& trained, const v1::CheckpointInfo& expected,
                          Accelerator* accelerator) {
    v1::AttemptSpec again = trained;
    again.set_output_dir((directory_.path() / name).string());
    again.set_checkpoint_dir((directory_.path() / (name + ".checkpoints")).string());
    v1::ReplayTask task;
    *task.mutable_train() = trained.train();
    *task.mutable_expected() = expected;
    *again.mutable_replay() = task;
    SingleCommunicator comm;
    const Status status = run_replay({again, comm, reporter_, 1, accelerator});
    EXPECT_TRUE(status.is_ok()) << status.to_string();
    auto text = read_file(std::filesystem::path(again.output_dir()) / "report" / "report.json");
    v1::ReplayReport report;
    CHECK(text.is_ok() && from_json(*text, &report).is_ok());
    return report;
  }

  TempDir directory_;
  v1::DatasetVersion data_;
  std::unique_ptr<GpuAccelerator> gpu_;
  LossReporter reporter_;
};

TEST_F(TabularAcceleratorTest, TrainsARecommenderAndReplaysIt) {
  const auto wanted = attempt("first", v1::TabularModel::BFLOAT16);
  const auto made = train(wanted, gpu_.get());
  EXPECT_EQ(made.numerics().device(), gpu_->numerics().device());
  EXPECT_EQ(made.step(), 8U);
  const auto losses = reporter_.losses;

  const auto again = replay("again", wanted, made, gpu_.get());
  EXPECT_TRUE(again.is_same_numerics());
  EXPECT_TRUE(again.is_equal());

  reporter_.losses.clear();
  EXPECT_EQ(train(attempt("on-cpu", v1::TabularModel::BFLOAT16), nullptr).numerics().device(), "cpu");
  for (int64_t step : {1, 8}) {
    // Activations are good to 2^-8 each and mostly cancel: 1 % of a loss, and what eight steps make of that.
    EXPECT_NEAR(losses.at(step), reporter_.losses.at(step), 0.02 * losses.at(step)) << "step " << step;
  }
  EXPECT_LT(losses.at(8), 0.95 * losses.at(1));
}

TEST_F(TabularAcceleratorTest, TwoRanksTrainTheModelOfOne) {
  const auto one = train(attempt("one", v1::TabularModel::BFLOAT16), gpu_.get());
  const auto wanted = attempt("two", v1::TabularModel::BFLOAT16);
  const Status status = run_thread_gang(2, [&](Communicator& comm) -> Status {
    ASSIGN_OR_RETURN(const auto gpu, GpuAccelerator::create(comm.rank(), 2, nullptr, {}));
    SilentReporter reporter;
    return run_train({wanted, comm, reporter, 1, gpu.get()});
  });
  ASSERT_TRUE(status.is_ok()) << status.to_string();
  const auto manifest = verify_artifact(std::filesystem::path(wanted.output_dir()) / "model");
  ASSERT_TRUE(manifest.is_ok()) << manifest.status().to_string();
  EXPECT_EQ(manifest->checkpoint().numerics().device(), gpu_->numerics().device());
  EXPECT_EQ(manifest->checkpoint().weights_digest(), one.weights_digest());
}

TEST_F(TabularAcceleratorTest, LeavesToTheCpuWhatItIsNotFor) {
  const auto float32 = attempt("float32", v1::TabularModel::FLOAT32);
  EXPECT_EQ(train(float32, gpu_.get()).numerics().device(), "cpu");

  auto adamw = attempt("adamw", v1::TabularModel::BFLOAT16);
  adamw.mutable_train()->mutable_step()->mutable_optimizer()->clear_embeddings();
  EXPECT_EQ(train(adamw, gpu_.get()).numerics().device(), "cpu") << "AdamW trains its tables";

  // More rows a step than a place in a list of lookups can name.
  auto large = attempt("large", v1::TabularModel::BFLOAT16);
  large.mutable_train()->mutable_step()->mutable_batch()->set_micro_batches((1 << 21) + 1);
  EXPECT_EQ(train(large, gpu_.get()).numerics().device(), "cpu");
}

TEST_F(TabularAcceleratorTest, TrainsAModelWithoutTables) {
  auto wanted = attempt("numbers", v1::TabularModel::BFLOAT16);
  auto* step = wanted.mutable_train()->mutable_step();
  step->mutable_tabular()->mutable_features()->DeleteSubrange(0, 2);
  step->mutable_optimizer()->clear_embeddings();
  const auto made = train(wanted, gpu_.get());
  EXPECT_EQ(made.numerics().device(), gpu_->numerics().device());
  EXPECT_TRUE(replay("numbers-again", wanted, made, gpu_.get()).is_equal());
}

}  // namespace
}  // namespace freshet::worker
