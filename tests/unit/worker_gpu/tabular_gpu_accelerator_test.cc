// A train task of a tabular model that the worker's GPU computes, as the task itself is asked for it.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "tests/unit/worker_gpu/thread_gang.h"
#include "tests/unit/worker_gpu/training_tasks.h"

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

std::string rows_of_text() {
  std::string text = "user,tags,x,y\n";
  for (int i = 0; i < 57; ++i) {
    text += "u" + std::to_string(i * i % 7) + ",";
    if (i % 4 > 0) text += "t" + std::to_string(i % 3);
    if (i % 4 > 1) text += ";t" + std::to_string(i % 5);
    text += "," + std::to_string(std::sin(i)) + "," + (i * i % 7 > 2 ? "1" : "0") + "\n";
  }
  return text;
}

class TabularAcceleratorTest : public TrainingTasksTest {
 protected:
  TabularAcceleratorTest() : TrainingTasksTest("a.csv", rows_of_text()) {}

  // Two passes of four steps, the fourth of 9 rows.
  v1::AttemptSpec attempt(const std::string& name, v1::TabularModel::Compute compute) {
    v1::AttemptSpec made = attempt_on_data(name);
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
    return made;
  }
};

TEST_F(TabularAcceleratorTest, TrainsARecommenderAndReplaysIt) {
  const auto wanted = attempt("first", v1::TabularModel::BFLOAT16);
  LossReporter on_gpu, on_cpu;
  const auto made = train(wanted, gpu_.get(), &on_gpu);
  EXPECT_EQ(made.numerics().device(), gpu_->numerics().device());
  EXPECT_EQ(made.step(), 8U);

  const auto again = replay("again", wanted, made, gpu_.get());
  EXPECT_TRUE(again.is_same_numerics());
  EXPECT_TRUE(again.is_equal());

  EXPECT_EQ(train(attempt("on-cpu", v1::TabularModel::BFLOAT16), nullptr, &on_cpu).numerics().device(), "cpu");
  for (int64_t step : {1, 8}) {
    // Activations are good to 2^-8 each and mostly cancel: 1 % of a loss, and what eight steps make of that.
    EXPECT_NEAR(on_gpu.losses.at(step), on_cpu.losses.at(step), 0.02 * on_gpu.losses.at(step)) << "step " << step;
  }
  EXPECT_LT(on_gpu.losses.at(8), 0.95 * on_gpu.losses.at(1));
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
  const auto two = model_of(wanted);
  EXPECT_EQ(two.numerics().device(), gpu_->numerics().device());
  EXPECT_EQ(two.weights_digest(), one.weights_digest());
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
