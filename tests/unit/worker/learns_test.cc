// That the engine learns, on real flights: trained on 1 January to 14 February 2001, scored on 15 to 21 February, the
// mean AUC of three seeds must reach what a PyTorch model of the same architecture reaches. Needs what scripts/setup
// downloads.
#include <gtest/gtest.h>

#include <cstdio>

#include "base/sha256.h"
#include "proto/attempt.pb.h"
#include "tests/paths.h"
#include "tests/unit/worker/command.h"
#include "tests/unit/worker/temp_dir.h"
#include "worker/model/predict.h"
#include "worker/task/evaluate.h"
#include "worker/task/task.h"

namespace freshet::worker {
namespace {

class Flights : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new TempDir();
    auto result = run_command({std::string(FRESHET_SOURCE_ROOT) + "/scripts/flights_partitions", "--from", "2001-01-01",
                               "--to", "2001-02-21", "--out", (dir_->path() / "data").string()},
                              dir_->path() / "log");
    ASSERT_EQ(result.exit_code, 0) << result.output << "\nRun scripts/setup first.";
  }
  static void TearDownTestSuite() { delete dir_; }

  static v1::DatasetVersion days(const std::string& first, const std::string& last) {
    v1::DatasetVersion data;
    data.set_source_uri("file://" + (dir_->path() / "data").string());
    for (const auto& file : std::filesystem::directory_iterator(dir_->path() / "data")) {
      std::string name = file.path().filename(), day = name.substr(4, 10);
      if (day < first || day > last) continue;
      auto digest = digest_file(file.path());
      EXPECT_TRUE(digest.is_ok());
      auto* entry = data.add_entries();
      entry->set_uri(name);
      entry->set_size(digest->size);
      entry->set_sha256(digest->sha256);
    }
    std::sort(data.mutable_entries()->begin(), data.mutable_entries()->end(),
              [](const auto& a, const auto& b) { return a.uri() < b.uri(); });
    return data;
  }

  static v1::TrainStep step(bool with_time) {
    v1::TrainStep step;
    step.set_epochs(2);
    auto* model = step.mutable_tabular();
    auto add = [model](const char* column, v1::Feature::Kind kind, v1::Feature::Derive derive) {
      auto* feature = model->add_features();
      feature->set_column(column);
      feature->set_kind(kind);
      feature->set_derive(derive);
    };
    add("distance", v1::Feature::NUMERIC, v1::Feature::NONE);
    add("origin", v1::Feature::CATEGORICAL, v1::Feature::NONE);
    add("destination", v1::Feature::CATEGORICAL, v1::Feature::NONE);
    if (with_time) {
      add("date", v1::Feature::CATEGORICAL, v1::Feature::HOUR_OF_DAY);
      add("date", v1::Feature::CATEGORICAL, v1::Feature::DAY_OF_WEEK);
    }
    model->mutable_label()->set_column("delay");
    model->mutable_label()->set_task(v1::Label::BINARY);
    model->mutable_label()->set_positive_above(15);
    model->add_hidden_layers(64);
    model->add_hidden_layers(32);
    return step;
  }

  static double auc(const v1::TrainStep& step, uint64_t seed) {
    auto output =
        dir_->path() / ("output-" + std::to_string(step.tabular().features_size()) + "-" + std::to_string(seed));
    v1::AttemptSpec attempt;
    attempt.set_seed(seed);
    attempt.set_output_dir(output.string());
    *attempt.mutable_train()->mutable_step() = step;
    *attempt.mutable_train()->mutable_data() = days("2001-01-01", "2001-02-14");
    SingleCommunicator comm;
    SilentReporter reporter;
    Status status = run_train({attempt, comm, reporter, 2});
    EXPECT_TRUE(status.is_ok()) << status.to_string();

    v1::EvaluateTask task;
    *task.mutable_step() = step;
    *task.mutable_data() = days("2001-02-15", "2001-02-21");
    for (const auto& entry : task.data().entries()) task.add_holdout(entry.uri());
    auto model = load_predictor(output / "model");
    EXPECT_TRUE(model.is_ok()) << model.status().to_string();
    auto report = evaluate(task, **model, nullptr, 2);
    EXPECT_TRUE(report.is_ok()) << report.status().to_string();
    for (const auto& metric : report->candidate().metrics()) {
      if (metric.name() == "auc") return metric.value();
    }
    ADD_FAILURE() << "the report has no auc";
    return 0;
  }

  static double mean_auc(const v1::TrainStep& step) {
    double sum = 0;
    for (uint64_t seed : {1, 2, 3}) {
      double value = auc(step, seed);
      std::printf("seed %d: AUC %.4f\n", static_cast<int>(seed), value);
      sum += value;
    }
    std::printf("mean: AUC %.4f\n", sum / 3);
    return sum / 3;
  }

  static TempDir* dir_;
};

TempDir* Flights::dir_ = nullptr;

TEST_F(Flights, AreLearnedFromDistanceOriginAndDestination) { EXPECT_GE(mean_auc(step(false)), 0.574); }

TEST_F(Flights, AreLearnedBetterWithHourAndWeekday) { EXPECT_GE(mean_auc(step(true)), 0.668); }

}  // namespace
}  // namespace freshet::worker
