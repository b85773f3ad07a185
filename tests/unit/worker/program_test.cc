// The program freshet-worker as it is started: by hand, under mpirun, and by a supervisor.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>
#include <thread>

#include "base/metric_ring.h"
#include "base/random.h"
#include "base/sha256.h"
#include "proto/attempt.pb.h"
#include "proto/evaluation.pb.h"
#include "proto/frame.h"
#include "proto/json.h"
#include "proto/replay.pb.h"
#include "tests/paths.h"
#include "tests/unit/worker/command.h"
#include "tests/unit/worker/temp_dir.h"
#include "worker/checkpoint/manifest.h"

namespace freshet::worker {
namespace {

using testing::HasSubstr;

const std::string kWorker = std::string(FRESHET_BINARY_DIR) + "/freshet-worker";

class Program : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(dir_.path() / "data");
    add_entry("part-1.csv", 1, 700);
    add_entry("part-2.csv", 2, 900);
    add_entry("part-3.csv", 3, 300);
    spec_.set_seed(5);
    auto* task = spec_.mutable_train();
    auto* step = task->mutable_step();
    step->set_epochs(2);
    step->mutable_batch()->set_micro_batch_rows(50);
    step->mutable_batch()->set_micro_batches(4);
    auto* model = step->mutable_tabular();
    auto* color = model->add_features();
    color->set_column("color");
    color->set_kind(v1::Feature::CATEGORICAL);
    auto* size = model->add_features();
    size->set_column("size");
    size->set_kind(v1::Feature::NUMERIC);
    model->add_hidden_layers(32);
    model->mutable_label()->set_column("bought");
    model->mutable_label()->set_task(v1::Label::BINARY);
    *task->mutable_data() = data_;
    task->add_holdout("part-3.csv");
  }

  void add_entry(const std::string& name, uint64_t seed, size_t rows) {
    Philox philox(seed);
    std::string text = "color,size,bought\n";
    const char* colors[] = {"red", "green", "blue", "black", "white"};
    for (uint64_t i = 0; i < rows; ++i) {
      uint64_t color = philox.below(3 * i, 5);
      double size = philox.uniform(3 * i + 1);
      bool bought = philox.uniform(3 * i + 2) < 0.2 + 0.5 * size * (color % 2 == 0 ? 1.0 : 0.2);
      text += std::string(colors[color]) + "," + std::to_string(size) + "," + (bought ? "1" : "0") + "\n";
    }
    std::ofstream(dir_.path() / "data" / name) << text;
    auto* entry = data_.add_entries();
    entry->set_uri(name);
    entry->set_size(text.size());
    entry->set_sha256(Sha256::hex_of(text));
    data_.set_source_uri("file://" + (dir_.path() / "data").string());
  }

  CommandResult run(const v1::AttemptSpec& spec, const std::string& output, int processes = 1,
                    std::vector<std::string> variables = {}) {
    auto file = dir_.path() / "attempt.json";
    std::ofstream(file, std::ios::trunc) << to_canonical_json(spec);
    std::vector<std::string> command;
    if (processes > 1) {
      command = {"mpirun", "--oversubscribe", "--bind-to", "none", "-n", std::to_string(processes)};
    }
    command.insert(command.end(), {kWorker, "--attempt", file.string(), "--output", (dir_.path() / output).string()});
    variables.insert(variables.end(), {"OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"});
    return run_command(command, dir_.path() / "log", variables);
  }

  v1::CheckpointInfo checkpoint(const std::string& output) {
    auto manifest = verify_artifact(dir_.path() / output / "model");
    EXPECT_TRUE(manifest.is_ok()) << manifest.status().to_string();
    return manifest.is_ok() ? manifest->checkpoint() : v1::CheckpointInfo();
  }

  // A replay of the training of `spec_`, which made the model in `output`.
  v1::AttemptSpec replay_of(const std::string& output) {
    v1::AttemptSpec replay;
    replay.set_seed(spec_.seed());
    *replay.mutable_replay()->mutable_train() = spec_.train();
    *replay.mutable_replay()->mutable_expected() = checkpoint(output);
    replay.mutable_replay()->mutable_model()->set_path((dir_.path() / output / "model").string());
    return replay;
  }

  v1::ReplayReport replay_report(const std::string& output) {
    v1::ReplayReport report;
    auto text = read_file(dir_.path() / output / "report/report.json");
    EXPECT_TRUE(text.is_ok() && from_json(*text, &report).is_ok());
    return report;
  }

  TempDir dir_;
  v1::DatasetVersion data_;
  v1::AttemptSpec spec_;
};

TEST_F(Program, GivesTheSameModelForAnyRanksAndThreads) {
  std::string expected;
  for (int ranks : {1, 2, 3, 4}) {
    for (unsigned threads : {1U, 2U}) {
      spec_.set_ranks(static_cast<uint32_t>(ranks));
      spec_.set_threads_per_rank(threads);
      std::string name = "out-" + std::to_string(ranks) + "-" + std::to_string(threads);
      auto result = run(spec_, name, ranks);
      ASSERT_EQ(result.exit_code, 0) << result.output;
      auto manifest = read_file(dir_.path() / name / "model/manifest.json");
      ASSERT_TRUE(manifest.is_ok());
      if (expected.empty()) expected = *manifest;
      EXPECT_EQ(*manifest, expected) << ranks << " ranks, " << threads << " threads";
    }
  }
  EXPECT_EQ(checkpoint("out-1-1").step(), 16U);
}

// A rank is ended by SIGKILL just after the first checkpoint is sealed; a gang of another size goes on from it.
TEST_F(Program, GoesOnFromACheckpointWithOtherRanks) {
  spec_.mutable_train()->mutable_step()->set_epochs(40);
  spec_.mutable_train()->mutable_step()->set_checkpoint_every_steps(10);
  auto model = [&](const std::string& output) {
    auto manifest = read_file(dir_.path() / output / "model/manifest.json");
    EXPECT_TRUE(manifest.is_ok()) << manifest.status().to_string();
    return manifest.is_ok() ? *manifest : "";
  };
  auto twin = run(spec_, "twin");
  ASSERT_EQ(twin.exit_code, 0) << twin.output;
  EXPECT_THAT(twin.output, HasSubstr("metric checkpoint_stall_seconds"));
  for (auto [before, after] : {std::pair(2, 3), std::pair(3, 1)}) {
    std::string output = "killed-" + std::to_string(before);
    spec_.set_ranks(static_cast<uint32_t>(before));
    spec_.set_epoch(1);
    auto killed = run(spec_, output, before, {"FRESHET_CRASH_AT=snapshot.directory.after_sync"});
    EXPECT_NE(killed.exit_code, 0);
    EXPECT_FALSE(std::filesystem::exists(dir_.path() / output / "model"));
    spec_.set_ranks(static_cast<uint32_t>(after));
    spec_.set_epoch(2);
    auto resumed = run(spec_, output, after);
    ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
    EXPECT_THAT(resumed.output, HasSubstr("resumed from step 10\n"));
    EXPECT_THAT(resumed.output, HasSubstr("metric resumed_from_step 10"));
    EXPECT_THAT(resumed.output, HasSubstr("milestone first_step"));
    EXPECT_EQ(model(output), model("twin"));
  }
}

TEST_F(Program, SaysWhatItReached) {
  auto result = run(spec_, "out");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  for (const char* text : {"milestone decoded", "milestone first_step", "milestone trained", "metric total_steps 16",
                           "metric loss", "metric gradient_norm", "metric learning_rate", "metric step_seconds",
                           "metric examples_per_second", "output model"}) {
    EXPECT_THAT(result.output, HasSubstr(text));
  }
}

// The milestone is the end of the first step, not the start of the second: a training of one step has it too.
TEST_F(Program, ReportsTheFirstStepOfATrainingOfOneStep) {
  spec_.mutable_train()->mutable_step()->set_epochs(1);
  spec_.mutable_train()->mutable_step()->mutable_batch()->set_micro_batch_rows(1000);
  auto result = run(spec_, "out");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(checkpoint("out").step(), 1U);
  EXPECT_THAT(result.output, HasSubstr("milestone first_step"));
}

TEST_F(Program, StartsWarmFromAModel) {
  ASSERT_EQ(run(spec_, "first").exit_code, 0);
  spec_.mutable_train()->mutable_warm_start()->set_path((dir_.path() / "first/model").string());
  auto result = run(spec_, "second");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(checkpoint("second").initial_weights_digest(), checkpoint("first").weights_digest());
  EXPECT_NE(checkpoint("second").weights_digest(), checkpoint("first").weights_digest());

  // Other features: from the seed, as if there were no champion.
  spec_.mutable_train()->mutable_step()->mutable_tabular()->mutable_features()->RemoveLast();
  result = run(spec_, "third");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  spec_.mutable_train()->clear_warm_start();
  ASSERT_EQ(run(spec_, "fourth").exit_code, 0);
  EXPECT_EQ(checkpoint("third").weights_digest(), checkpoint("fourth").weights_digest());
}

TEST_F(Program, ReplaysATrainingOnAnyRanks) {
  ASSERT_EQ(run(spec_, "parent").exit_code, 0);
  spec_.mutable_train()->mutable_warm_start()->set_path((dir_.path() / "parent/model").string());
  ASSERT_EQ(run(spec_, "model").exit_code, 0);
  auto replay = replay_of("model");
  replay.mutable_replay()->set_version("sales/2");
  replay.mutable_replay()->set_keep_model(true);
  for (int ranks : {1, 3}) {
    replay.set_ranks(static_cast<uint32_t>(ranks));
    const std::string output = "replay-" + std::to_string(ranks);
    auto result = run(replay, output, ranks);
    ASSERT_EQ(result.exit_code, 0) << result.output;
    EXPECT_THAT(result.output, HasSubstr("metric replay_loss"));
    EXPECT_THAT(result.output, testing::Not(HasSubstr("metric loss")));
    auto report = replay_report(output);
    EXPECT_EQ(report.version(), "sales/2");
    EXPECT_TRUE(report.is_equal() && report.is_same_numerics());
    EXPECT_EQ(report.weights_digest(), checkpoint("model").weights_digest());
    EXPECT_EQ(report.replayed_weights_digest(), report.weights_digest());
    EXPECT_EQ(report.numerics().engine_build(), report.replayed_numerics().engine_build());
    EXPECT_EQ(report.differences_size(), 0);
    // The model itself is the same artifact, so that another replay may start from it.
    EXPECT_EQ(read_file(dir_.path() / output / "model/manifest.json").value(),
              read_file(dir_.path() / "model/model/manifest.json").value());
  }
}

TEST_F(Program, SaysHowFarAReplayIsOff) {
  ASSERT_EQ(run(spec_, "model").exit_code, 0);
  auto replay = replay_of("model");
  replay.set_seed(6);
  auto result = run(replay, "other");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  auto report = replay_report("other");
  EXPECT_FALSE(report.is_equal());
  EXPECT_TRUE(report.is_same_numerics());
  EXPECT_NE(report.replayed_weights_digest(), report.weights_digest());
  EXPECT_GT(report.differences_size(), 2);
  EXPECT_GT(report.differences(0).largest_absolute(), 0);
  EXPECT_FALSE(std::filesystem::exists(dir_.path() / "other/model"));

  replay.mutable_replay()->clear_model();
  replay.mutable_replay()->mutable_expected()->mutable_numerics()->set_engine_build("of another build");
  ASSERT_EQ(run(replay, "collected").exit_code, 0);
  report = replay_report("collected");
  EXPECT_FALSE(report.is_same_numerics());
  EXPECT_EQ(report.numerics().engine_build(), "of another build");
  EXPECT_EQ(report.differences_size(), 0);
  EXPECT_EQ(report.not_compared(), "the artifact of the version was collected");
}

// The record says which batches a guard left out; a replay leaves them out without being told so by its own losses.
TEST_F(Program, ReplaysTheStepsThatWereLeftOut) {
  ASSERT_EQ(run(spec_, "model").exit_code, 0);
  auto replay = replay_of("model");
  replay.mutable_replay()->mutable_expected()->add_skipped_steps(3);
  replay.mutable_replay()->set_keep_model(true);
  ASSERT_EQ(run(replay, "skipped").exit_code, 0);
  EXPECT_FALSE(replay_report("skipped").is_equal());
  EXPECT_THAT(checkpoint("skipped").skipped_steps(), testing::ElementsAre(3));
  *replay.mutable_replay()->mutable_expected() = checkpoint("skipped");
  ASSERT_EQ(run(replay, "again").exit_code, 0);
  EXPECT_TRUE(replay_report("again").is_equal());
}

TEST_F(Program, EvaluatesAndInspects) {
  ASSERT_EQ(run(spec_, "first").exit_code, 0);
  v1::AttemptSpec evaluate;
  auto* task = evaluate.mutable_evaluate();
  *task->mutable_step() = spec_.train().step();
  *task->mutable_data() = data_;
  task->add_holdout("part-3.csv");
  task->mutable_candidate()->set_path((dir_.path() / "first/model").string());
  auto result = run(evaluate, "evaluated");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  v1::EvaluationReport report;
  ASSERT_TRUE(from_json(read_file(dir_.path() / "evaluated/report/report.json").value(), &report).is_ok());
  EXPECT_EQ(report.rows(), 300U);

  v1::AttemptSpec inspect;
  *inspect.mutable_inspect()->mutable_step() = spec_.train().step();
  *inspect.mutable_inspect()->mutable_data() = data_;
  inspect.mutable_inspect()->mutable_champion()->set_path((dir_.path() / "first/model").string());
  result = run(inspect, "inspected");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  v1::InspectionReport inspection;
  ASSERT_TRUE(from_json(read_file(dir_.path() / "inspected/report/report.json").value(), &inspection).is_ok());
  ASSERT_EQ(inspection.profiles_size(), 3);
  EXPECT_EQ(inspection.profiles(1).rows(), 900U);
}

// The pipeline has changed its family while the old champion is in use.
TEST_F(Program, TakesAChampionOfAnotherFamilyForNone) {
  ASSERT_EQ(run(spec_, "first").exit_code, 0);
  std::filesystem::create_directory(dir_.path() / "champion");
  v1::ArtifactManifest manifest;
  manifest.set_type("model");
  manifest.mutable_checkpoint()->set_family("gpt");
  std::ofstream(dir_.path() / "champion/manifest.json") << to_canonical_json(manifest);

  v1::AttemptSpec evaluate;
  auto* task = evaluate.mutable_evaluate();
  *task->mutable_step() = spec_.train().step();
  *task->mutable_data() = data_;
  task->add_holdout("part-3.csv");
  task->mutable_candidate()->set_path((dir_.path() / "first/model").string());
  task->mutable_champion()->set_path((dir_.path() / "champion").string());
  task->set_champion_version("sales/1");
  auto result = run(evaluate, "evaluated");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("the champion sales/1 is of the family gpt, not tabular: it counts as none"));
  v1::EvaluationReport report;
  ASSERT_TRUE(from_json(read_file(dir_.path() / "evaluated/report/report.json").value(), &report).is_ok());
  EXPECT_EQ(report.rows(), 300U);
  EXPECT_FALSE(report.has_champion());
  EXPECT_EQ(report.champion_version(), "sales/1");

  v1::AttemptSpec inspect;
  *inspect.mutable_inspect()->mutable_step() = spec_.train().step();
  *inspect.mutable_inspect()->mutable_data() = data_;
  *inspect.mutable_inspect()->mutable_champion() = task->champion();
  inspect.mutable_inspect()->set_champion_version("sales/1");
  result = run(inspect, "inspected");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  v1::InspectionReport inspection;
  ASSERT_TRUE(from_json(read_file(dir_.path() / "inspected/report/report.json").value(), &inspection).is_ok());
  EXPECT_EQ(inspection.profiles(0).error(), "");
  EXPECT_EQ(inspection.profiles(0).champion_version(), "");
}

TEST_F(Program, EndsWithOneClearLineWhenTheRecipeIsWrong) {
  spec_.mutable_train()->mutable_step()->mutable_tabular()->mutable_features(1)->set_column("weight");
  auto result = run(spec_, "out");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.output, testing::StartsWith("freshet-worker: "));
  EXPECT_THAT(result.output, HasSubstr("weight"));
  EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1) << result.output;
  EXPECT_FALSE(std::filesystem::exists(dir_.path() / "out/model"));
}

TEST_F(Program, EndsAllRanksWhenTheDataIsNotThere) {
  std::filesystem::remove(dir_.path() / "data/part-2.csv");
  spec_.set_ranks(2);
  auto result = run(spec_, "out", 2);
  EXPECT_NE(result.exit_code, 0);
  EXPECT_THAT(result.output, HasSubstr("part-2.csv"));
}

TEST_F(Program, RefusesAGangOfTheWrongSize) {
  spec_.set_ranks(3);
  auto result = run(spec_, "out");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.output, "freshet-worker: the attempt asks for 3 ranks, but 1 were started\n");
}

TEST_F(Program, RefusesEvaluationOnSeveralRanks) {
  v1::AttemptSpec spec;
  spec.mutable_evaluate();
  spec.set_ranks(2);
  auto result = run(spec, "out", 2);
  EXPECT_THAT(result.output, HasSubstr("the evaluate task runs on one rank, not on 2"));
}

TEST_F(Program, ExplainsItsCommandLine) {
  auto log = dir_.path() / "log";
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{kWorker},
                                                    {kWorker, "--attempt", "x"},
                                                    {kWorker, "--supervisor"},
                                                    {kWorker, "--supervisor", "x", "--output", "y"},
                                                    {kWorker, "--verbose", "1"}}) {
    auto result = run_command(arguments, log);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.output, testing::StartsWith("usage: freshet-worker"));
  }
  auto result = run_command({kWorker, "--attempt", "/nowhere.json", "--output", "y"}, log);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.output, HasSubstr("/nowhere.json"));
}

// All frames that one rank sends until it closes the socket.
std::vector<v1::RankFrame> supervise(const std::filesystem::path& path, const v1::AttemptSpec& spec, Fd* listener,
                                     const std::function<void()>& start) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, path.c_str());
  *listener = Fd(socket(AF_UNIX, SOCK_STREAM, 0));
  EXPECT_EQ(bind(listener->get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(listen(listener->get(), 1), 0);
  std::vector<v1::RankFrame> frames;
  std::thread supervisor([&] {
    Fd peer(accept(listener->get(), nullptr, nullptr));
    v1::RankFrame frame;
    while (true) {
      auto more = read_frame(peer.get(), &frame);
      if (!more.is_ok() || !*more) return;
      frames.push_back(frame);
      if (!frame.has_hello()) continue;
      v1::SupervisorFrame answer;
      *answer.mutable_attempt() = spec;
      EXPECT_TRUE(write_frame(peer.get(), answer).is_ok());
    }
  });
  start();
  supervisor.join();
  return frames;
}

TEST_F(Program, ServesASupervisor) {
  auto ring = MetricRing::create(dir_.path() / "ring", 1024);
  ASSERT_TRUE(ring.is_ok());
  spec_.set_output_dir((dir_.path() / "output").string());
  spec_.set_metric_ring((dir_.path() / "ring").string());
  Fd listener;
  auto frames = supervise(dir_.path() / "s.sock", spec_, &listener, [&] {
    auto result = run_command({kWorker, "--supervisor", (dir_.path() / "s.sock").string()}, dir_.path() / "log");
    EXPECT_EQ(result.exit_code, 0) << result.output;
  });
  ASSERT_EQ(frames.size(), 5U);
  EXPECT_TRUE(frames[0].has_hello());
  EXPECT_EQ(frames[1].milestone().name(), "decoded");
  EXPECT_EQ(frames[2].milestone().name(), "first_step");
  EXPECT_EQ(frames[3].milestone().name(), "trained");
  EXPECT_EQ(frames[4].output().path(), (dir_.path() / "output/model").string());
  uint64_t at = 0;
  std::vector<MetricPoint> points;
  EXPECT_EQ(ring->drain(&at, &points), 0U);
  ASSERT_FALSE(points.empty());
  EXPECT_STREQ(points[0].name, "total_steps");
  EXPECT_EQ(points[0].value, 16);
  EXPECT_EQ(points.back().step, 16);
}

TEST_F(Program, TellsTheSupervisorWhyItFails) {
  spec_.mutable_train()->mutable_step()->mutable_optimizer()->set_learning_rate(-1);
  Fd listener;
  auto frames = supervise(dir_.path() / "s.sock", spec_, &listener, [&] {
    auto result = run_command({kWorker, "--supervisor", (dir_.path() / "s.sock").string()}, dir_.path() / "log");
    EXPECT_EQ(result.exit_code, 1) << result.output;
  });
  ASSERT_EQ(frames.size(), 2U);
  EXPECT_THAT(frames[1].failure().message(), HasSubstr("optimizer.learning_rate is -1"));
}

}  // namespace
}  // namespace freshet::worker
