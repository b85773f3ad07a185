// Train tasks and their replays, as a worker that has a GPU is asked for them. Tests only.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "base/file.h"
#include "base/sha256.h"
#include "proto/json.h"
#include "proto/replay.pb.h"
#include "tests/unit/worker/temp_dir.h"
#include "worker/checkpoint/manifest.h"
#include "worker/gpu/gpu_accelerator.h"
#include "worker/report/reporter.h"
#include "worker/task/task.h"

namespace freshet::worker {

inline std::unique_ptr<GpuAccelerator> gpu_with_products(const std::filesystem::path& table) {
  auto made = GpuAccelerator::create(0, 1, nullptr, table);
  CHECK(made.is_ok() && *made != nullptr);
  return *std::move(made);
}

class TrainingTasksTest : public testing::Test {
 protected:
  // The data are one file.
  TrainingTasksTest(const std::string& file_name, const std::string& text) {
    const auto file = directory_.path() / "data" / file_name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
    const auto digest = digest_file(file);
    CHECK(digest.is_ok());
    auto* entry = data_.add_entries();
    entry->set_uri(file_name);
    entry->set_size(digest->size);
    entry->set_sha256(digest->sha256);
    data_.set_source_uri("file://" + file.parent_path().string());
  }

  void set_directories(const std::string& name, v1::AttemptSpec* attempt) const {
    attempt->set_output_dir((directory_.path() / name).string());
    attempt->set_checkpoint_dir((directory_.path() / (name + ".checkpoints")).string());
  }

  // To train on the data, in directories of this name. The rest is the caller's.
  v1::AttemptSpec attempt_on_data(const std::string& name) const {
    v1::AttemptSpec made;
    made.set_seed(3);
    set_directories(name, &made);
    *made.mutable_train()->mutable_data() = data_;
    return made;
  }

  // `reporter` may be null.
  static v1::CheckpointInfo train(const v1::AttemptSpec& wanted, Accelerator* accelerator,
                                  Reporter* reporter = nullptr) {
    SingleCommunicator comm;
    SilentReporter silent;
    const Status status = run_train({wanted, comm, reporter ? *reporter : silent, 1, accelerator});
    EXPECT_TRUE(status.is_ok()) << status.to_string();
    return model_of(wanted);
  }

  static v1::CheckpointInfo model_of(const v1::AttemptSpec& trained) {
    auto manifest = verify_artifact(std::filesystem::path(trained.output_dir()) / "model");
    CHECK_MSG(manifest.is_ok(), manifest.status().to_string());
    return manifest->checkpoint();
  }

  // `model`: the artifact's directory; empty: it was collected.
  v1::ReplayReport replay(const std::string& name, const v1::AttemptSpec& trained, const v1::CheckpointInfo& expected,
                          Accelerator* accelerator, const std::filesystem::path& model = {}) const {
    v1::AttemptSpec again = trained;
    set_directories(name, &again);
    v1::ReplayTask task;
    *task.mutable_train() = trained.train();
    *task.mutable_expected() = expected;
    task.mutable_model()->set_path(model.string());
    *again.mutable_replay() = task;
    SingleCommunicator comm;
    SilentReporter reporter;
    const Status status = run_replay({again, comm, reporter, 1, accelerator});
    EXPECT_TRUE(status.is_ok()) << status.to_string();
    auto text = read_file(std::filesystem::path(again.output_dir()) / "report" / "report.json");
    v1::ReplayReport report;
    CHECK(text.is_ok() && from_json(*text, &report).is_ok());
    return report;
  }

  TempDir directory_;
  v1::DatasetVersion data_;
  std::unique_ptr<GpuAccelerator> gpu_ = gpu_with_products({});
};

}  // namespace freshet::worker
