// A train task that the worker's GPU computes, as the task itself is asked for it.
#include "worker/gpu/gpu_accelerator.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/unit/worker_gpu/training_tasks.h"
#include "worker/checkpoint/gpt_artifact.h"
#include "worker/gpu/gpt_device_products.h"

namespace freshet::worker {
namespace {

std::string abcd() {
  std::string text;
  for (int i = 0; i < 140; ++i) text += "abcd"[i % 4];
  return text;
}

class GpuAcceleratorTest : public TrainingTasksTest {
 protected:
  GpuAcceleratorTest() : TrainingTasksTest("a.txt", abcd()) {}

  v1::AttemptSpec attempt(const std::string& name, v1::GptModel::Compute compute) {
    v1::AttemptSpec made = attempt_on_data(name);
    v1::TrainStep* step = made.mutable_train()->mutable_step();
    step->set_checkpoint_every_steps(1);
    step->set_epochs(2);
    auto* gpt = step->mutable_gpt();
    gpt->set_compute(compute);
    gpt->set_layers(1);
    gpt->set_heads(1);
    gpt->set_width(64);
    gpt->set_context(16);
    step->mutable_batch()->set_micro_batch_rows(2);
    step->mutable_batch()->set_micro_batches(2);
    step->mutable_optimizer()->set_learning_rate(3e-3);
    return made;
  }

  // Of the attempts' model, each product by `algorithm`.
  cuda::ProductTable table_of(const std::string& algorithm) {
    const auto wanted = attempt("", v1::GptModel::BFLOAT16);
    const auto model = make_gpt(wanted.train().step().gpt(), GptTokenizer(std::nullopt).get().vocabulary_size());
    const auto plan = plan_gpt_device(model.value().config(), {2, 16}, {});
    cuda::ProductTable table{{}, "emulated", cuda::Products::library()};
    for (const auto& shape : gpt_device_products(model.value().config(), plan.value())) {
      table.add({{shape, algorithm, 1}});
    }
    return table;
  }

  std::filesystem::path write(const cuda::ProductTable& table, const std::string& name = "table") {
    const auto path = directory_.path() / (name + ".products");
    std::ofstream(path) << table.to_text();
    return path;
  }
};

TEST_F(GpuAcceleratorTest, TrainsAGptAndReplaysIt) {
  const auto wanted = attempt("first", v1::GptModel::BFLOAT16);
  const auto made = train(wanted, gpu_.get());
  EXPECT_EQ(made.numerics().device(), gpu_->numerics().device());
  EXPECT_EQ(made.numerics().device(), "emulated (9.0, 4 multiprocessors)");
  EXPECT_FALSE(made.numerics().engine_build().empty());
  EXPECT_EQ(made.step(), 4U);

  const auto again = replay("again", wanted, made, gpu_.get());
  EXPECT_TRUE(again.is_same_numerics());
  EXPECT_TRUE(again.is_equal());

  const auto on_cpu = replay("on-cpu", wanted, made, nullptr);
  EXPECT_FALSE(on_cpu.is_same_numerics()) << "another device is other numerics";
}

TEST_F(GpuAcceleratorTest, TrainsAGptIn8BitsAndReplaysIt) {
  const auto wanted = attempt("narrow", v1::GptModel::FLOAT8);
  const auto made = train(wanted, gpu_.get());
  EXPECT_EQ(made.numerics().device(), gpu_->numerics().device());
  const auto again = replay("narrow-again", wanted, made, gpu_.get());
  EXPECT_TRUE(again.is_same_numerics());
  EXPECT_TRUE(again.is_equal());
  EXPECT_NE(made.weights_digest(), train(attempt("wide", v1::GptModel::BFLOAT16), gpu_.get()).weights_digest());
  // The same recipe where there is no GPU.
  EXPECT_EQ(train(attempt("on-cpu", v1::GptModel::FLOAT8), nullptr).weights_digest(),
            train(attempt("wide-on-cpu", v1::GptModel::BFLOAT16), nullptr).weights_digest());
}

TEST_F(GpuAcceleratorTest, TheTableOfProductsIsPartOfTheNumerics) {
  const auto wanted = attempt("tuned", v1::GptModel::BFLOAT16);
  const auto table = table_of("first");
  auto with_others = table;
  with_others.add({{{8, 8, 8}, "of-another-model", 1}});
  const auto made = train(wanted, gpu_with_products(write(with_others)).get());
  EXPECT_EQ(made.numerics().products(), table.digest()) << "what else is in the node's table is no matter";
  EXPECT_EQ(train(attempt("untuned", v1::GptModel::BFLOAT16), gpu_.get()).numerics().products(), "");
}

TEST_F(GpuAcceleratorTest, ReplaysByTheTableOfTheModel) {
  const auto wanted = attempt("tuned", v1::GptModel::BFLOAT16);
  const auto made = train(wanted, gpu_with_products(write(table_of("first"))).get());
  const auto model = std::filesystem::path(wanted.output_dir()) / "model";
  const auto manifest = verify_artifact(model).value();
  EXPECT_TRUE(std::any_of(manifest.files().begin(), manifest.files().end(), [&](const auto& file) {
    return file.name() == "products.txt" && file.sha256() == made.numerics().products();
  }));

  for (const auto& [name, gpu] : std::vector<std::pair<std::string, std::shared_ptr<GpuAccelerator>>>{
           {"none", gpu_with_products({})}, {"another", gpu_with_products(write(table_of("second"), "another"))}}) {
    const auto again = replay(name, wanted, made, gpu.get(), model);
    EXPECT_TRUE(again.is_same_numerics()) << name;
    EXPECT_TRUE(again.is_equal()) << name;
  }
  EXPECT_FALSE(replay("collected", wanted, made, gpu_.get()).is_same_numerics());
  std::ofstream(model / "products.txt", std::ios::app) << "damaged\n";
  EXPECT_FALSE(replay("damaged", wanted, made, gpu_.get(), model).is_same_numerics());
}

TEST_F(GpuAcceleratorTest, ReplaysWithoutATableWhatHadNone) {
  const auto wanted = attempt("untuned", v1::GptModel::BFLOAT16);
  const auto made = train(wanted, gpu_.get());
  const auto tuned = gpu_with_products(write(table_of("first")));
  EXPECT_TRUE(replay("again", wanted, made, tuned.get()).is_same_numerics());
  EXPECT_FALSE(train(attempt("next", v1::GptModel::BFLOAT16), tuned.get()).numerics().products().empty());
}

TEST_F(GpuAcceleratorTest, ATableOfAnotherGpuIsRefused) {
  auto table = table_of("first");
  EXPECT_TRUE(gpu_->use_products(table.to_text()).is_ok());
  table.device = "NVIDIA H200";
  EXPECT_EQ(gpu_->use_products(table.to_text()).code(), Code::kUnavailable);
  EXPECT_EQ(gpu_->use_products("a poem").code(), Code::kInvalidArgument);
  EXPECT_EQ(train(attempt("refused", v1::GptModel::BFLOAT16), gpu_.get()).numerics().products(), "");
}

// Ends a training behind its last step, as if it were killed there, and tells where it began.
class EndingReporter final : public Reporter {
 public:
  Status milestone(std::string_view name) override { return name == "trained" ? cancelled("killed") : Status::ok(); }
  Status produced(const v1::ProducedOutput&) override { return Status::ok(); }
  void metric(std::string_view name, double value, int64_t) override {
    if (name == "resumed_from_step") resumed_from = value;
  }
  double resumed_from = -1;
};

TEST_F(GpuAcceleratorTest, GoesOnByTheTableThatItBeganWith) {
  const auto undisturbed =
      train(attempt("undisturbed", v1::GptModel::BFLOAT16), gpu_with_products(write(table_of("first"))).get());
  const auto wanted = attempt("disturbed", v1::GptModel::BFLOAT16);
  const auto tuned = gpu_with_products(write(table_of("first")));
  SingleCommunicator comm;
  EndingReporter killed, resumed;
  EXPECT_EQ(run_train({wanted, comm, killed, 1, tuned.get()}).code(), Code::kCancelled);
  EXPECT_EQ(killed.resumed_from, -1);

  const auto removed = gpu_with_products(directory_.path() / "nowhere");
  EXPECT_EQ(run_train({wanted, comm, resumed, 1, removed.get()}).code(), Code::kCancelled);
  EXPECT_GT(resumed.resumed_from, 0);
  const auto made = train(wanted, gpu_with_products(write(table_of("second"))).get());
  EXPECT_EQ(made.numerics().products(), undisturbed.numerics().products());
  EXPECT_EQ(made.weights_digest(), undisturbed.weights_digest());
}

TEST_F(GpuAcceleratorTest, GoesOnWithoutATableWhereItBeganWithNone) {
  const auto wanted = attempt("disturbed", v1::GptModel::BFLOAT16);
  SingleCommunicator comm;
  EndingReporter killed, resumed;
  EXPECT_EQ(run_train({wanted, comm, killed, 1, gpu_.get()}).code(), Code::kCancelled);
  const auto tuned = gpu_with_products(write(table_of("first")));
  EXPECT_EQ(run_train({wanted, comm, resumed, 1, tuned.get()}).code(), Code::kCancelled);
  EXPECT_GT(resumed.resumed_from, 0);
  EXPECT_EQ(train(wanted, tuned.get()).numerics().products(), "");
}

TEST_F(GpuAcceleratorTest, TakesNoTableOfAnotherTraining) {
  auto wanted = attempt("disturbed", v1::GptModel::BFLOAT16);
  SingleCommunicator comm;
  EndingReporter killed;
  const auto first = gpu_with_products(write(table_of("first"), "first"));
  EXPECT_EQ(run_train({wanted, comm, killed, 1, first.get()}).code(), Code::kCancelled);
  wanted.set_seed(4);
  const auto second = table_of("second");
  EXPECT_EQ(train(wanted, gpu_with_products(write(second, "second")).get()).numerics().products(), second.digest());
}

TEST_F(GpuAcceleratorTest, ATableThatIsNotThereIsAnError) {
  const auto wanted = attempt("missing", v1::GptModel::BFLOAT16);
  SingleCommunicator comm;
  SilentReporter reporter;
  const auto gpu = gpu_with_products(directory_.path() / "nowhere");
  EXPECT_EQ(run_train({wanted, comm, reporter, 1, gpu.get()}).code(), Code::kNotFound);
}

TEST_F(GpuAcceleratorTest, LeavesFloat32ToTheCpu) {
  const auto wanted = attempt("float32", v1::GptModel::FLOAT32);
  const auto made = train(wanted, gpu_.get());
  EXPECT_EQ(made.numerics().device(), "cpu");
  EXPECT_TRUE(replay("on-cpu", wanted, made, nullptr).is_equal());
}

}  // namespace
}  // namespace freshet::worker
