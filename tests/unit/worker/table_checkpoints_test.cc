// Tables of embeddings in checkpoints, after a return to one, and in the artifact: each rank writes the rows that it
// owns, and any number of ranks goes on from them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstring>
#include <limits>

#include "base/file.h"
#include "tests/unit/worker/checkpoint_support.h"
#include "tests/unit/worker/shared_floats.h"
#include "tests/unit/worker/temp_dir.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/checkpoint/shard.h"
#include "worker/checkpoint/weights.h"
#include "worker/comm/local.h"

namespace freshet::worker {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// Weights, moments and row sums, one after the other.
std::vector<float> bits_of(const CheckpointedRun& run) {
  std::vector<float> bits = run.weights;
  for (const auto* part : {&run.m, &run.v, &run.row_sums}) bits.insert(bits.end(), part->begin(), part->end());
  return bits;
}

const std::vector<float>& undisturbed() {
  static const std::vector<float> kBits = [] {
    CheckpointedRun run;
    run.tables = true;
    SingleCommunicator comm;
    Status status = run.run(&comm);
    EXPECT_TRUE(status.is_ok()) << status.to_string();
    EXPECT_EQ(run.row_sums.size(), 23U + 7U);
    return bits_of(run);
  }();
  return kBits;
}

Status run_gang(int ranks, const fs::path& directory, const std::function<void(int rank, uint64_t step)>& on_step,
                std::vector<float>* bits, float* resumed_from) {
  SharedFloats shared(undisturbed().size() + 1);
  shared.clear();
  Status status = run_local_gang(ranks, [&](Communicator& comm) -> Status {
    CheckpointedRun run;
    run.tables = true;
    run.directory = directory;
    run.on_step = [&](const StepResult& result) {
      on_step(comm.rank(), result.step);
      return Status::ok();
    };
    RETURN_IF_ERROR(run.run(&comm, 2));
    if (comm.rank() != 0) return Status::ok();
    const auto own = bits_of(run);
    std::copy(own.begin(), own.end(), shared.data());
    shared.data()[own.size()] = run.resumed_from.empty() ? -1.0F : static_cast<float>(run.resumed_from[0]);
    return Status::ok();
  });
  *bits = shared.values();
  *resumed_from = bits->back();
  bits->pop_back();
  return status;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(TableCheckpoints, AnyNumberOfRanksGoesOnFromAnyOther) {
  for (auto [before, after] : {std::pair{1, 3}, {3, 8}, {8, 2}, {2, 4}}) {
    TempDir dir;
    std::vector<float> bits;
    float resumed_from = 0;
    auto kill_one = [before = before](int rank, uint64_t step) {
      if (rank == before - 1 && step == 14) kill(getpid(), SIGKILL);
    };
    Status killed = run_gang(before, dir.path() / "run", kill_one, &bits, &resumed_from);
    ASSERT_THAT(killed.message(), HasSubstr("ended by signal 9"));
    Status status = run_gang(after, dir.path() / "run", [](int, uint64_t) {}, &bits, &resumed_from);
    ASSERT_TRUE(status.is_ok()) << status.to_string();
    EXPECT_EQ(resumed_from, 12);
    EXPECT_TRUE(same_bits(bits, undisturbed())) << before << " ranks, then " << after;
  }
}

// A row whose loss is infinite: training goes back once, then leaves the batch out, tables and all.
TEST(TableCheckpoints, GuardsBringTheTablesBack) {
  std::vector<float> first;
  for (int ranks : {1, 3}) {
    TempDir dir;
    SharedFloats shared(undisturbed().size());
    shared.clear();
    Status status = run_local_gang(ranks, [&](Communicator& comm) -> Status {
      CheckpointedRun run;
      run.tables = true;
      run.binary = false;
      run.rows = synthetic_rows(kCheckpointedRows, false);
      run.rows.label[500] = std::numeric_limits<float>::infinity();
      run.directory = dir.path() / "run";
      RETURN_IF_ERROR(run.run(&comm));
      if (run.skipped.size() != 2) return corrupt("not two batches were left out");
      if (comm.rank() != 0) return Status::ok();
      const auto own = bits_of(run);
      std::copy(own.begin(), own.end(), shared.data());
      return Status::ok();
    });
    ASSERT_TRUE(status.is_ok()) << status.to_string();
    const auto bits = shared.values();
    for (float value : bits) ASSERT_TRUE(std::isfinite(value));
    if (first.empty()) first = bits;
    EXPECT_TRUE(same_bits(bits, first)) << ranks;
  }
}

TEST(TableCheckpoints, LackingRowsAreSeen) {
  const std::vector<TensorView> tensors = {{"embedding.a.weight", {4, 2}, 0, 8}, {"output.bias", {3}, 8, 3}};
  TempDir dir;
  std::vector<float> dense = {1, 2, 3}, values = {1, 2, 3, 4, 5, 6, 7, 8}, sums = {1, 2, 3, 4};
  const std::atomic<bool> stop = false;
  auto written = write_shard(dir.path(), tensors, {{8, 11}, dense.data(), dense.data(), dense.data()}, stop);
  ASSERT_TRUE(written.is_ok()) << written.status().to_string();
  const std::string dense_file = written->name();
  auto first = write_table_shard(dir.path(), tensors[0], {{0, 3}, 2, values.data(), sums.data()}, stop);
  auto last = write_table_shard(dir.path(), tensors[0], {{3, 4}, 2, values.data() + 6, sums.data() + 3}, stop);
  ASSERT_TRUE(first.is_ok() && last.is_ok());

  std::vector<float> m(3), v(3), all(3), own_values(4), own_sums(2);
  TrainingMemory memory{all, {0, 3}, m, v, {{{2, 4}, 2, own_values, own_sums}}};
  ShardTarget target(tensors, memory);
  ASSERT_TRUE(target.read(dir.path() / dense_file).is_ok());
  ASSERT_TRUE(target.read(dir.path() / first->name()).is_ok());
  EXPECT_THAT(target.check_complete().message(), HasSubstr("element 6"));
  ASSERT_TRUE(target.read(dir.path() / last->name()).is_ok());
  EXPECT_EQ(target.check_complete().message(), "");
  EXPECT_EQ(own_values, (std::vector<float>{5, 6, 7, 8}));
  EXPECT_EQ(own_sums, (std::vector<float>{3, 4}));
  EXPECT_EQ(all, dense);
  EXPECT_FALSE(target.read(dir.path() / last->name()).is_ok() && target.check_complete().is_ok());
}

TEST(TableCheckpoints, TheArtifactHoldsTheSumsOfRows) {
  const std::vector<TensorView> tensors = {{"embedding.a.weight", {2, 2}, 0, 4}, {"output.bias", {3}, 4, 3}};
  TempDir dir;
  auto writer = ArtifactWriter::create(dir.path(), "model", "model");
  ASSERT_TRUE(writer.is_ok());
  const std::vector<float> parameters = {1, 2, 3, 4, 5, 6, 7}, m = {1, 2, 3}, v = {4, 5, 6}, sums = {8, 9};
  ASSERT_TRUE(add_weights(tensors, {parameters, m, v, sums}, "tabular", {}, &*writer).is_ok());
  ASSERT_TRUE(writer->seal().is_ok());
  auto bytes = read_file(dir.path() / "model/optimizer.safetensors");
  ASSERT_TRUE(bytes.is_ok());
  auto file = parse_safetensors(*bytes);
  ASSERT_TRUE(file.is_ok());
  std::map<std::string, std::vector<float>> found;
  for (const auto& tensor : file->tensors) {
    const auto begin = file->values.begin() + static_cast<ptrdiff_t>(tensor.offset);
    found[tensor.name] = {begin, begin + static_cast<ptrdiff_t>(tensor.size)};
  }
  EXPECT_EQ(found, (std::map<std::string, std::vector<float>>{
                       {"m.output.bias", m}, {"v.output.bias", v}, {"sum.embedding.a.weight", sums}}));
}

}  // namespace
}  // namespace freshet::worker
