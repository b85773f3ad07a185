// The losses of two tiny trainings, recorded in tests/data/losses. Where the platform's numerics are those of the
// recording the bits must be equal; elsewhere the losses must agree to 1e-4. FRESHET_UPDATE_GOLDEN=1 writes the files
// anew: only for a change that is meant to change the numbers, with the curve shown in its review.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/file.h"
#include "tests/paths.h"
#include "tests/unit/worker/synthetic.h"
#include "worker/checkpoint/fingerprint.h"
#include "worker/checkpoint/tensors.h"
#include "worker/train/tabular_objective.h"
#include "worker/train/trainer.h"

namespace freshet::worker {
namespace {

struct Recording {
  std::string platform;
  std::vector<double> losses, norms;
  std::string weights;
};

std::string platform_text() {
  auto fingerprint = platform_fingerprint();
  std::string text = fingerprint.device() + "; " + fingerprint.instruction_set();
  for (const auto& library : fingerprint.libraries()) text += "; " + library;
  return text;
}

Recording train(bool binary) {
  auto model = TabularModel::create(synthetic_shape(binary));
  TrainOptions options;
  options.seed = 2026;
  options.epochs = 2;
  options.micro_batch_rows = 32;
  options.micro_batches = 4;
  options.learning_rate = 4e-3;
  options.weight_decay = 1e-2;
  options.clip_norm = 1;
  std::vector<float> parameters(model->parameters());
  model->initialise(options.seed, parameters.data());
  SingleCommunicator comm;
  ThreadPool pool(2);
  const EncodedRows rows = synthetic_rows(1000, binary);
  auto objective = TabularObjective::create(*model, rows, options.micro_batch_rows, pool.threads());
  EXPECT_TRUE(objective.is_ok()) << objective.status().to_string();
  auto trainer = Trainer::create(&*objective, options, &comm, &pool, parameters);
  Recording recording;
  recording.platform = platform_text();
  Status status = trainer->run([&](const StepResult& step) {
    recording.losses.push_back(step.loss);
    recording.norms.push_back(step.gradient_norm);
    return Status::ok();
  });
  EXPECT_TRUE(status.is_ok()) << status.to_string();
  recording.weights = weights_digest(model->tensors(), trainer->take_parameters()->data());
  return recording;
}

std::string to_text(const Recording& recording) {
  std::string text = "platform: " + recording.platform + "\nweights: " + recording.weights + "\n";
  for (size_t i = 0; i < recording.losses.size(); ++i) {
    char line[128];
    std::snprintf(line, sizeof line, "%zu %.17g %.17g\n", i + 1, recording.losses[i], recording.norms[i]);
    text += line;
  }
  return text;
}

Recording from_text(const std::string& text) {
  Recording recording;
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    if (line.starts_with("platform: ")) {
      recording.platform = line.substr(10);
    } else if (line.starts_with("weights: ")) {
      recording.weights = line.substr(9);
    } else {
      int step = 0;
      double loss = 0, norm = 0;
      EXPECT_EQ(std::sscanf(line.c_str(), "%d %lf %lf", &step, &loss, &norm), 3) << line;
      recording.losses.push_back(loss);
      recording.norms.push_back(norm);
    }
  }
  return recording;
}

class RecordedLosses : public testing::TestWithParam<bool> {};

TEST_P(RecordedLosses, AreReproduced) {
  auto path = std::filesystem::path(FRESHET_TEST_DATA) / "losses" /
              (GetParam() ? "tabular_binary.txt" : "tabular_regression.txt");
  Recording now = train(GetParam());
  if (std::getenv("FRESHET_UPDATE_GOLDEN")) {
    std::ofstream(path) << to_text(now);
    std::printf("recorded %s\n", path.c_str());
    return;
  }
  auto text = read_file(path);
  ASSERT_TRUE(text.is_ok()) << text.status().to_string();
  Recording then = from_text(*text);
  ASSERT_EQ(then.losses.size(), 16U);
  ASSERT_EQ(now.losses.size(), then.losses.size());
  bool same_platform = now.platform == then.platform;
  std::printf("compared %s\n  recorded on: %s\n  this is:     %s\n", same_platform ? "bit by bit" : "to 1e-4",
              then.platform.c_str(), now.platform.c_str());
  for (size_t i = 0; i < now.losses.size(); ++i) {
    if (same_platform) {
      EXPECT_EQ(now.losses[i], then.losses[i]) << "step " << i + 1;
      EXPECT_EQ(now.norms[i], then.norms[i]) << "step " << i + 1;
    } else {
      EXPECT_NEAR(now.losses[i], then.losses[i], 1e-4) << "step " << i + 1;
      EXPECT_NEAR(now.norms[i], then.norms[i], 1e-3) << "step " << i + 1;
    }
  }
  if (same_platform) {
    EXPECT_EQ(now.weights, then.weights);
  }
}

INSTANTIATE_TEST_SUITE_P(Tasks, RecordedLosses, testing::Bool(),
                         [](const auto& test) { return test.param ? "Binary" : "Regression"; });

}  // namespace
}  // namespace freshet::worker
