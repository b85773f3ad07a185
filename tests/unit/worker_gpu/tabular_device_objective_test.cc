// A recommender trained by its objectives on a device and on a CPU, over the same micro-batches.
#include "worker/gpu/tabular_device_objective.h"

#include <cmath>

#include "tests/unit/kernels_cuda/support.h"
#include "tests/unit/worker/recommender.h"
#include "worker/gpu/device_step.h"
#include "worker/train/tabular_objective.h"

namespace freshet::worker {
namespace {

using cuda::Array;

constexpr size_t kRows = 64;
const kernels::RowwiseAdagradStep kAdagrad{0.05F, 1e-6F};

TrainOptions options() {
  TrainOptions options;
  options.micro_batch_rows = 16;
  options.micro_batches = 2;
  options.learning_rate = 0.02;
  return options;
}

using TabularDeviceObjectiveTest = cuda::CudaTest;

TEST_F(TabularDeviceObjectiveTest, StepsAsTheCpuDoes) {
  const TabularShape shape = recommender_shapes().at("cross of low rank");
  auto model = TabularModel::create(shape);
  ASSERT_TRUE(model.is_ok());
  auto rows = recommender_rows(shape, kRows);
  std::vector<float> parameters(model->parameters());
  model->initialise(4, parameters.data());
  std::vector<float> dense(parameters.begin() + static_cast<ptrdiff_t>(model->dense_begin()), parameters.end());
  dense = cuda::widened(cuda::narrowed(dense));

  SingleCommunicator comm;
  ThreadPool pool(1);
  auto tables = std::make_unique<EmbeddingTables>(std::span(model->tensors()).first(shape.categorical.size()), kAdagrad,
                                                  &comm, options().micro_batches, options().micro_batch_rows);
  tables->start(parameters.data());
  const size_t table_rows = tables->rows();
  auto on_cpu = TabularObjective::create(*model, rows, options().micro_batch_rows, 1, std::move(tables));
  auto on_device = TabularDeviceObjective::create(*model, rows, options(), kAdagrad);
  ASSERT_TRUE(on_cpu.is_ok() && on_device.is_ok());
  DeviceObjective& device = **on_device;
  EXPECT_EQ(device.parameters(), on_cpu->parameters());
  EXPECT_EQ(device.examples(), kRows);
  std::vector<float> sums(table_rows), values(model->dense_begin());
  EXPECT_OK(device.tables()->start(parameters.data(), &*stream_));

  const Array<kernels::Bfloat16> weights(cuda::narrowed(dense));
  const Array<std::byte> input(device.input_bytes());
  auto pinned = cuda::PinnedMemory::allocate(device.input_bytes());
  ASSERT_TRUE(pinned.is_ok());
  Array<float> gradient(dense.size());
  Array<double> loss(size_t{1});
  std::vector<float> expected(dense.size());
  for (uint64_t step = 1; step <= 3; ++step) {
    // 16 rows and 11, other ones each time, and half of the schedule's rate in the second step; the third is left out.
    std::vector<uint32_t> examples;
    for (uint32_t i = 0; i < 27; ++i) examples.push_back(static_cast<uint32_t>((i * 5 + step * 9) % kRows));
    EXPECT_OK(on_cpu->begin_step(examples, 0, &pool));
    for (size_t first = 0; first < examples.size(); first += 16) {
      const MicroBatch batch{std::span(examples).subspan(first, std::min<size_t>(16, 27 - first)), step, first, &pool};
      auto own = on_cpu->forward_backward(batch, 0.25F, dense.data(), expected.data(), 0);
      ASSERT_TRUE(own.is_ok());
      EXPECT_OK(device.fill_input(batch, 0.25F, pinned->data()));
      EXPECT_OK(cuda::copy_to_device(input.data(), pinned->data(), device.input_bytes(), stream()));
      EXPECT_OK(device.forward_backward(input.data(), weights.data(), gradient.data(), loss.data(), &*stream_,
                                        [](size_t) { return Status::ok(); }));
      expect_done();
      EXPECT_NEAR(loss.values()[0], *own, 0.01 * *own) << "step " << step;
    }
    cuda::StepInput in;
    in.adamw.learning_rate = step == 2 ? 0.01F : 0.02F;
    cuda::StepOutput out;
    out.is_applied = step < 3 ? 1 : 0;
    const Array<cuda::StepInput> on_input(std::vector<cuda::StepInput>{in});
    const Array<cuda::StepOutput> on_output(std::vector<cuda::StepOutput>{out});
    if (step < 3) EXPECT_OK(on_cpu->update_tables(2, step == 2 ? 0.5F : 1, &pool));
    EXPECT_OK(device.end_step(on_input.data(), on_output.data(), {}, &*stream_));
    expect_done();
  }
  EXPECT_OK(device.tables()->gather_values(&comm, &*stream_, values.data()));
  EXPECT_OK(device.tables()->gather_sums(&comm, &*stream_, sums.data()));
  std::vector<float> expected_values(values.size()), expected_sums(sums.size());
  EXPECT_OK(on_cpu->tables()->gather_values(expected_values.data()));
  EXPECT_OK(on_cpu->tables()->gather_sums(expected_sums.data()));
  double squares = 0, length = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    squares += std::pow(static_cast<double>(values[i] - expected_values[i]), 2);
    length += std::pow(static_cast<double>(expected_values[i] - parameters[i]), 2);
  }
  // Of how far the tables have moved; a unit that rounding turns on or off counts a few per cent of a row.
  EXPECT_LT(std::sqrt(squares / length), 0.06);
  EXPECT_GT(length, 0);
}

// The trainer's steps move the tables with the rest; recorded ones leave the same bits.
TEST_F(TabularDeviceObjectiveTest, IsTrainedByTheStepsOfADevice) {
  const TabularShape shape = recommender_shapes().at("cross of low rank");
  auto model = TabularModel::create(shape);
  ASSERT_TRUE(model.is_ok());
  auto rows = recommender_rows(shape, kRows);
  std::vector<float> parameters(model->parameters());
  model->initialise(4, parameters.data());
  SingleCommunicator comm;
  SingleDeviceCommunicator devices;
  std::vector<std::vector<float>> trained, sums;
  for (const bool records : {false, true}) {
    auto objective = TabularDeviceObjective::create(*model, rows, options(), kAdagrad);
    ASSERT_TRUE(objective.is_ok());
    auto engine = DeviceStep::create(objective->get(), options(), {&comm, &devices}, parameters, records);
    ASSERT_TRUE(engine.is_ok()) << engine.status().to_string();
    EXPECT_EQ((*engine)->parameters(), model->parameters());
    double first = 0, last = 0;
    for (uint64_t step = 1; step <= 24; ++step) {
      StepPlan plan;
      plan.step = step;
      plan.cursor = (step - 1) % 2 * 32;
      plan.rows = 32;
      plan.learning_rate = options().learning_rate;
      EXPECT_OK((*engine)->begin(plan, [] {}));
      auto numbers = (*engine)->end();
      ASSERT_TRUE(numbers.is_ok()) << numbers.status().to_string();
      EXPECT_TRUE(numbers->is_applied);
      (step <= 2 ? first : last) += step <= 2 || step > 22 ? numbers->loss : 0;
    }
    EXPECT_LT(last, 0.6 * first);
    sums.push_back((*engine)->gather_optimizer_state().value().row_sums);
    trained.push_back((*engine)->take_parameters().value());
  }
  ASSERT_EQ(sums[0].size(), 23U + 11U);
  kernels::expect_same_bits(sums[0], sums[1]);
  kernels::expect_same_bits(trained[0], trained[1]);
  for (const TensorView& table : std::span(model->tensors()).first(2)) {
    const auto begin = static_cast<ptrdiff_t>(table.offset), end = begin + static_cast<ptrdiff_t>(table.size);
    EXPECT_FALSE(std::equal(parameters.begin() + begin, parameters.begin() + end, trained[0].begin() + begin))
        << table.name;
  }
}

// The next step is done before anybody asks for the copy.
TEST_F(TabularDeviceObjectiveTest, ASnapshotHasTheTablesOfItsStep) {
  auto model = TabularModel::create(recommender_shapes().at("side by side"));
  ASSERT_TRUE(model.is_ok());
  const auto rows = recommender_rows(model->shape(), kRows);
  std::vector<float> parameters(model->parameters());
  model->initialise(4, parameters.data());
  SingleCommunicator comm;
  SingleDeviceCommunicator devices;
  std::vector<float> expected, sums;
  for (uint64_t steps : {2, 3}) {
    auto objective = TabularDeviceObjective::create(*model, rows, options(), kAdagrad);
    ASSERT_TRUE(objective.is_ok());
    auto engine = DeviceStep::create(objective->get(), options(), {&comm, &devices}, parameters);
    ASSERT_TRUE(engine.is_ok()) << engine.status().to_string();
    TrainingSnapshot snapshot;
    for (uint64_t step = 1; step <= steps; ++step) {
      StepPlan plan;
      plan.step = step;
      plan.rows = 32;
      plan.learning_rate = options().learning_rate;
      EXPECT_OK((*engine)->begin(plan, [] {}));
      EXPECT_TRUE((*engine)->end().is_ok());
      if (step == 2) snapshot = (*engine)->snapshot().value();
    }
    if (steps == 2) {
      sums = (*engine)->gather_optimizer_state().value().row_sums;
      expected = (*engine)->take_parameters().value();
      continue;
    }
    EXPECT_OK(snapshot.wait());
    ASSERT_EQ(snapshot.tables.size(), 2U);
    std::vector<float> found, found_sums;
    for (const TableMemory& table : snapshot.tables) {
      found.insert(found.end(), table.values.begin(), table.values.end());
      found_sums.insert(found_sums.end(), table.sums.begin(), table.sums.end());
    }
    found.insert(found.end(), snapshot.parameters, snapshot.parameters + snapshot.segment.size());
    kernels::expect_same_bits(expected, found);
    kernels::expect_same_bits(sums, found_sums);
  }
}

TEST_F(TabularDeviceObjectiveTest, RefusesRowsThatDoNotFit) {
  auto model = TabularModel::create(recommender_shapes().at("side by side"));
  ASSERT_TRUE(model.is_ok());
  EXPECT_EQ(TabularDeviceObjective::create(*model, {}, options(), kAdagrad).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace freshet::worker
