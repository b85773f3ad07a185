// Evaluation and inspection of a gpt by the worker's GPU, as the tasks are asked for it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "base/file.h"
#include "base/sha256.h"
#include "proto/json.h"
#include "tests/unit/worker/temp_dir.h"
#include "tests/unit/worker_gpu/training_tasks.h"
#include "worker/checkpoint/fingerprint.h"
#include "worker/gpu/gpt_device_products.h"
#include "worker/gpu/gpt_device_scorer.h"
#include "worker/gpu/gpu_accelerator.h"
#include "worker/report/reporter.h"
#include "worker/task/task.h"
#include "worker/task/text_tasks.h"

namespace freshet::worker {
namespace {

using testing::HasSubstr;

constexpr size_t kContext = 8;

class GpuEvaluationTest : public testing::Test {
 protected:
  GpuEvaluationTest() : gpu_(gpu_with_products({})) {
    data_.set_source_uri("file://" + directory_.path().string());
    std::string longer;
    for (int i = 0; i < 90; ++i) longer += static_cast<char>('a' + i * i % 23);
    add("long.txt", longer);  // eleven contexts and a piece: two passes
    add("exact.txt", longer.substr(40, kContext));
    add("empty.jsonl", "{\"text\": \"\"}\n");  // no token to predict
    add("one.txt", "x");
  }

  void add(const std::string& name, const std::string& text) {
    std::ofstream(directory_.path() / name, std::ios::binary) << text;
    auto* entry = data_.add_entries();
    entry->set_uri(name);
    entry->set_sha256(Sha256::hex_of(text));
  }

  static GptArtifact model(uint64_t seed, v1::GptModel::Compute compute = v1::GptModel::BFLOAT16, uint32_t width = 64) {
    v1::GptModel wanted;
    wanted.set_compute(compute);
    wanted.set_layers(1);
    wanted.set_heads(1);
    wanted.set_width(width);
    wanted.set_feed_forward(64);
    wanted.set_context(kContext);
    GptTokenizer tokenizer(std::nullopt);
    GptModel made = make_gpt(wanted, tokenizer.get().vocabulary_size()).value();
    std::vector<float> parameters(made.parameters());
    made.initialise(seed, parameters.data());
    for (float& parameter : parameters) parameter *= 4;  // so that no prediction is nearly uniform
    return {std::move(tokenizer), std::move(made), std::move(parameters), {}};
  }

  v1::EvaluateTask task(const std::vector<std::string>& holdout = {"long.txt", "exact.txt", "empty.jsonl",
                                                                   "one.txt"}) const {
    v1::EvaluateTask made;
    *made.mutable_data() = data_;
    for (const auto& uri : holdout) made.add_holdout(uri);
    made.mutable_candidate()->set_digest("c0");
    made.mutable_champion()->set_digest("c1");
    made.set_champion_version("m/3");
    return made;
  }

  v1::EvaluationReport evaluated(const GptArtifact& candidate, const GptArtifact* champion, Accelerator* accelerator,
                                 unsigned threads = 1) const {
    auto report = evaluate_text(task(), candidate, champion, threads, accelerator);
    CHECK_MSG(report.is_ok(), report.status().to_string());
    return *std::move(report);
  }

  TempDir directory_;
  v1::DatasetVersion data_;
  std::unique_ptr<GpuAccelerator> gpu_;
};

// Logits are below 16 here, and on the GPU bfloat16: a token's loss is off by 2^-8 of that for the target and the sum
// each, and as much again for what the layers before have rounded; errors of tokens are independent.
void expect_close(double actual, double expected, double tokens) {
  EXPECT_NEAR(actual, expected, 4 * 16 * 0x1p-8 * std::sqrt(tokens) + 1e-12);
  EXPECT_EQ(std::isfinite(actual), true);
}

TEST_F(GpuEvaluationTest, LossesAreThoseOfTheCpu) {
  const GptArtifact candidate = model(1), champion = model(2);
  const auto on_cpu = evaluated(candidate, &champion, nullptr), on_gpu = evaluated(candidate, &champion, gpu_.get());
  ASSERT_EQ(on_gpu.entries_size(), 4);
  const double tokens[] = {90, kContext, 0, 1};
  for (int i = 0; i < 4; ++i) {
    const auto &gpu = on_gpu.entries(i), &cpu = on_cpu.entries(i);
    EXPECT_EQ(gpu.uri(), cpu.uri());
    EXPECT_EQ(gpu.rows(), cpu.rows());
    expect_close(gpu.candidate_loss_sum(), cpu.candidate_loss_sum(), tokens[i]);
    expect_close(gpu.champion_loss_sum(), cpu.champion_loss_sum(), tokens[i]);
    if (tokens[i] > 0) {
      EXPECT_NE(gpu.candidate_loss_sum(), cpu.candidate_loss_sum()) << "it was not the GPU that scored it";
      EXPECT_GT(std::abs(gpu.candidate_loss_sum() - gpu.champion_loss_sum()), 0.01);
    }
  }
  EXPECT_EQ(on_gpu.entries(2).candidate_loss_sum(), 0);
  for (const auto* scores : {&on_gpu.candidate(), &on_gpu.champion()}) {
    EXPECT_EQ(scores->numerics().device(), gpu_->numerics().device());
    EXPECT_EQ(scores->metrics_size(), 3);
  }
  EXPECT_EQ(on_cpu.champion().numerics().device(), "cpu");
}

TEST_F(GpuEvaluationTest, AModelIn8BitsIsScoredAsOneInBfloat16) {
  const auto narrow = evaluated(model(1, v1::GptModel::FLOAT8), nullptr, gpu_.get());
  EXPECT_EQ(narrow.candidate().numerics().device(), gpu_->numerics().device());
  EXPECT_EQ(to_canonical_json(narrow), to_canonical_json(evaluated(model(1), nullptr, gpu_.get())));
}

TEST_F(GpuEvaluationTest, GivesTheSameBitsForAnyThreadsAndWithoutAChampion) {
  const GptArtifact candidate = model(1), champion = model(2);
  const auto one = evaluated(candidate, &champion, gpu_.get());
  EXPECT_EQ(to_canonical_json(evaluated(candidate, &champion, gpu_.get(), 3)), to_canonical_json(one));
  const auto alone = evaluated(candidate, nullptr, gpu_.get());
  EXPECT_FALSE(alone.has_champion());
  EXPECT_EQ(to_canonical_json(alone.candidate()), to_canonical_json(one.candidate()));
}

// Their numbers would not be comparable.
TEST_F(GpuEvaluationTest, OneDeviceScoresBoth) {
  const GptArtifact candidate = model(1), champion = model(2, v1::GptModel::FLOAT32);
  const auto report = evaluated(candidate, &champion, gpu_.get());
  EXPECT_EQ(to_canonical_json(report), to_canonical_json(evaluated(candidate, &champion, nullptr)));
  EXPECT_EQ(report.candidate().numerics().device(), "cpu");
  // A GPU's attention takes no heads of 48.
  const GptArtifact odd = model(3, v1::GptModel::BFLOAT16, 48);
  EXPECT_EQ(evaluated(odd, &candidate, gpu_.get()).champion().numerics().device(), "cpu");
}

// Another GPU that has no memory left from its second scorer on.
class FullGpu final : public Accelerator {
 public:
  explicit FullGpu(Accelerator* gpu) : gpu_(*gpu) {}
  v1::NumericsFingerprint numerics() const override { return gpu_.numerics(); }
  Status use_products(std::optional<std::string> text) override { return gpu_.use_products(std::move(text)); }
  const std::string& products() const override { return gpu_.products(); }
  Result<std::unique_ptr<StepEngine>> gpt_engine(const GptModel&, const std::vector<Token>&, const TrainOptions&,
                                                 Communicator*, std::span<const float>) override {
    return internal("no training here");
  }
  Result<std::unique_ptr<StepEngine>> tabular_engine(const TabularModel&, const EncodedRows&, const TrainOptions&,
                                                     Communicator*, std::span<const float>) override {
    return internal("no training here");
  }
  bool scores(const GptModel& model) const override { return gpu_.scores(model); }
  Result<std::unique_ptr<TextScorer>> text_scorer(const GptModel& model, std::span<const float> parameters) override {
    if (asked_++ > 0) return resource_exhausted("the GPU's memory is taken");
    return gpu_.text_scorer(model, parameters);
  }

 private:
  Accelerator& gpu_;
  int asked_ = 0;
};

TEST_F(GpuEvaluationTest, TheCpuScoresBothWhereTheMemoryIsTaken) {
  const GptArtifact candidate = model(1), champion = model(2);
  FullGpu full(gpu_.get());
  EXPECT_EQ(to_canonical_json(evaluated(candidate, &champion, &full)),
            to_canonical_json(evaluated(candidate, &champion, nullptr)));
}

TEST_F(GpuEvaluationTest, ATableThatLacksProductsIsNoError) {
  const GptArtifact candidate = model(1);
  const auto& config = candidate.model.config();
  cuda::ProductTable table;
  table.device = cuda::device_properties().value().name;
  table.library = cuda::Products::library();
  auto evaluated_with = [&](const std::string& name) {
    std::ofstream(directory_.path() / name) << table.to_text();
    const auto gpu = gpu_with_products(directory_.path() / name);
    return evaluated(candidate, nullptr, gpu.get()).candidate();
  };
  for (const auto& shape : gpt_device_products(config, plan_gpt_scoring(config).value())) {
    table.add({{shape, "first", 1}});
  }
  const auto whole = evaluated_with("whole");
  table.entries.pop_back();
  const auto part = evaluated_with("part");
  table.device = "another";
  const auto other = evaluated_with("other");
  const auto none = evaluated(candidate, nullptr, gpu_.get()).candidate();
  // The emulation has one algorithm.
  for (const auto* scores : {&whole, &part, &other}) EXPECT_EQ(scores->metrics(0).value(), none.metrics(0).value());
  EXPECT_EQ(to_canonical_json(other), to_canonical_json(none));
  EXPECT_NE(to_canonical_json(whole.numerics()), to_canonical_json(part.numerics()));
  EXPECT_NE(to_canonical_json(part.numerics()), to_canonical_json(none.numerics()));
}

TEST_F(GpuEvaluationTest, AnInspectionsLossIsTheEvaluations) {
  const GptArtifact champion = model(2);
  v1::InspectTask inspection;
  *inspection.mutable_data() = data_;
  std::swap(*inspection.mutable_data()->mutable_entries(0), *inspection.mutable_data()->mutable_entries(3));
  inspection.set_champion_version("m/3");
  auto report = inspect_text(inspection, &champion, 1, gpu_.get());
  ASSERT_TRUE(report.is_ok()) << report.status().to_string();
  const auto expected = evaluated(model(1), &champion, gpu_.get()).entries(0);
  EXPECT_EQ(report->profiles(3).champion_metrics(0).value(), expected.champion_loss_sum() / 90);
  EXPECT_EQ(report->profiles(2).champion_metrics_size(), 0) << "there is nothing to predict";
  EXPECT_EQ(report->profiles(2).error(), "");
}

TEST_F(GpuEvaluationTest, TheTaskTellsWhatScored) {
  const GptArtifact candidate = model(1);
  const std::vector<float> moments(candidate.parameters.size());
  const auto saved = save_gpt(directory_.path() / "out", candidate.tokenizer, candidate.model,
                              {candidate.parameters, moments, moments}, {})
                         .value();
  v1::AttemptSpec attempt;
  attempt.set_output_dir((directory_.path() / "evaluated").string());
  *attempt.mutable_evaluate() = task();
  attempt.mutable_evaluate()->clear_champion();
  attempt.mutable_evaluate()->mutable_candidate()->set_path(saved.path());
  EXPECT_TRUE(may_use_accelerator(attempt));
  SingleCommunicator comm;
  SilentReporter reporter;
  const Status status = run_task({attempt, comm, reporter, 1, gpu_.get()});
  ASSERT_TRUE(status.is_ok()) << status.to_string();
  v1::EvaluationReport report;
  ASSERT_TRUE(from_json(read_file(directory_.path() / "evaluated/report/report.json").value(), &report).is_ok());
  const auto& numerics = report.candidate().numerics();
  EXPECT_EQ(numerics.device(), gpu_->numerics().device());
  EXPECT_EQ(numerics.engine_build(), numerics_fingerprint({}).value().engine_build());
}

TEST(MayUseAccelerator, OnlyWhereAGptIsScoredOrAnythingTrained) {
  v1::AttemptSpec attempt;
  attempt.mutable_command();
  EXPECT_FALSE(may_use_accelerator(attempt));
  attempt.mutable_train();
  EXPECT_TRUE(may_use_accelerator(attempt));
  attempt.mutable_evaluate()->mutable_step()->mutable_tabular();
  EXPECT_FALSE(may_use_accelerator(attempt));
  attempt.mutable_evaluate()->mutable_step()->mutable_gpt();
  EXPECT_TRUE(may_use_accelerator(attempt));
  attempt.mutable_inspect()->mutable_step()->mutable_gpt();
  EXPECT_FALSE(may_use_accelerator(attempt)) << "without a champion nothing is scored";
  attempt.mutable_inspect()->mutable_champion()->set_digest("c1");
  EXPECT_TRUE(may_use_accelerator(attempt));
  attempt.mutable_inspect()->mutable_step()->mutable_tabular();
  EXPECT_FALSE(may_use_accelerator(attempt));
}

}  // namespace
}  // namespace freshet::worker
