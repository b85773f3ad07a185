// Tables that are trained row by row: the same bits for any number of ranks and threads, and the rule that each row
// follows.
#include "worker/train/embedding_tables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/unit/worker/recommender.h"
#include "tests/unit/worker/shared_floats.h"
#include "worker/comm/local.h"
#include "worker/train/tabular_objective.h"
#include "worker/train/trainer.h"

namespace freshet::worker {
namespace {

constexpr size_t kRows = 11 * 8 * 16 + 4 * 16 + 7;  // two passes of 12 batches, the last of each short

TrainOptions options() {
  TrainOptions options;
  options.seed = 17;
  options.epochs = 2;
  options.micro_batch_rows = 16;
  options.micro_batches = 8;
  options.learning_rate = 5e-3;
  options.weight_decay = 1e-3;
  options.clip_norm = 0.5;
  return options;
}

// Weights, then the sums of AdaGrad, then losses.
Status train(Communicator* comm, unsigned threads, const TabularShape& shape, const EncodedRows& rows,
             std::vector<float>* outcome) {
  ASSIGN_OR_RETURN(auto model, TabularModel::create(shape));
  std::vector<float> parameters(model.parameters()), losses;
  model.initialise(options().seed, parameters.data());
  ThreadPool pool(threads);
  const std::span<const TensorView> tensors(model.tensors());
  auto tables = std::make_unique<EmbeddingTables>(tensors.first(shape.categorical.size()),
                                                  kernels::RowwiseAdagradStep{0.05F, 1e-8F}, comm,
                                                  options().micro_batches, options().micro_batch_rows);
  ASSIGN_OR_RETURN(auto objective, TabularObjective::create(model, rows, options().micro_batch_rows, pool.threads(),
                                                            std::move(tables)));
  ASSIGN_OR_RETURN(auto trainer, Trainer::create(&objective, options(), comm, &pool, std::move(parameters)));
  RETURN_IF_ERROR(trainer.run([&](const StepResult& step) {
    losses.push_back(static_cast<float>(step.loss));
    losses.push_back(static_cast<float>(step.gradient_norm));
    return Status::ok();
  }));
  ASSIGN_OR_RETURN(auto state, trainer.gather_optimizer_state());
  ASSIGN_OR_RETURN(*outcome, trainer.take_parameters());
  outcome->insert(outcome->end(), state.row_sums.begin(), state.row_sums.end());
  outcome->insert(outcome->end(), losses.begin(), losses.end());
  return Status::ok();
}

std::vector<float> train_alone(const TabularShape& shape, const EncodedRows& rows, unsigned threads = 1) {
  SingleCommunicator comm;
  std::vector<float> outcome;
  Status status = train(&comm, threads, shape, rows, &outcome);
  EXPECT_TRUE(status.is_ok()) << status.to_string();
  return outcome;
}

class EmbeddingTablesBits : public testing::TestWithParam<std::tuple<int, unsigned>> {};

TEST_P(EmbeddingTablesBits, DoNotDependOnRanksAndThreads) {
  auto [ranks, threads] = GetParam();
  for (const char* name : {"dot with numeric features", "cross of low rank"}) {
    const auto shape = recommender_shapes().at(name);
    const auto rows = recommender_rows(shape, kRows);
    const auto expected = train_alone(shape, rows);
    SharedFloats result(expected.size());
    result.clear();
    Status status = run_local_gang(ranks, [&, threads = threads](Communicator& comm) -> Status {
      std::vector<float> outcome;
      RETURN_IF_ERROR(train(&comm, threads, shape, rows, &outcome));
      if (comm.rank() == 0) std::copy(outcome.begin(), outcome.end(), result.data());
      return Status::ok();
    });
    ASSERT_TRUE(status.is_ok()) << status.to_string();
    EXPECT_EQ(std::memcmp(result.data(), expected.data(), expected.size() * sizeof(float)), 0) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(RanksAndThreads, EmbeddingTablesBits,
                         testing::Combine(testing::Values(1, 2, 3, 4, 8), testing::Values(1, 2)));

TEST(EmbeddingTables, Learn) {
  const auto shape = recommender_shapes().at("dot with numeric features");
  const auto outcome = train_alone(shape, recommender_rows(shape, kRows), 2);
  const float first = outcome[outcome.size() - 48], last = outcome[outcome.size() - 2];
  EXPECT_LT(last, first - 0.1F);
  const float sum_of_last_row = outcome[outcome.size() - 48 - 1];
  EXPECT_GT(sum_of_last_row, 0) << "the tables stood still";
}

// One step of a table as AdaGrad says, from the gradient that the model gives of a table among its parameters.
TEST(EmbeddingTables, MoveByTheGradientOfTheWholeBatch) {
  const auto shape = recommender_shapes().at("side by side");
  auto model = TabularModel::create(shape);
  ASSERT_TRUE(model.is_ok());
  const auto rows = recommender_rows(shape, 64);
  std::vector<float> parameters(model->parameters()), gradient(model->parameters());
  model->initialise(3, parameters.data());
  TabularModel::Workspace workspace(*model, 64);
  ASSERT_TRUE(
      model->forward_backward(rows, all_rows(rows), 1.0F / 64, parameters.data(), gradient.data(), &workspace).is_ok());

  SingleCommunicator comm;
  ThreadPool pool(2);
  const std::span<const TensorView> tensors(model->tensors());
  auto tables =
      std::make_unique<EmbeddingTables>(tensors.first(2), kernels::RowwiseAdagradStep{0.05F, 1e-8F}, &comm, 4, 16);
  EmbeddingTables& moved = *tables;
  auto objective = TabularObjective::create(*model, rows, 16, 2, std::move(tables));
  ASSERT_TRUE(objective.is_ok());
  moved.start(parameters.data());
  const auto examples = all_rows(rows);
  ASSERT_TRUE(objective->begin_step(examples, 0, &pool).is_ok());
  std::vector<float> dense(model->dense_parameters()), all(moved.elements()), sums(moved.rows());
  for (uint64_t first = 0; first < 64; first += 16) {
    MicroBatch batch{std::span(examples).subspan(first, 16), 1, first, nullptr};
    ASSERT_TRUE(objective->forward_backward(batch, 1.0F / 64, parameters.data() + model->dense_begin(), dense.data(), 0)
                    .is_ok());
  }
  ASSERT_TRUE(objective->update_tables(4, 0.5F, &pool).is_ok());
  ASSERT_TRUE(moved.gather_values(all.data()).is_ok() && moved.gather_sums(sums.data()).is_ok());
  size_t row_number = 0, untouched = 0;
  for (size_t t = 0; t < 2; ++t) {
    for (size_t row = 0; row < shape.categorical[t].codes; ++row, ++row_number) {
      const size_t at = row_number * 8;  // both tables have that width
      std::vector<float> expected(parameters.begin() + static_cast<ptrdiff_t>(at),
                                  parameters.begin() + static_cast<ptrdiff_t>(at + 8));
      float sum = 0;
      const bool is_named =
          std::any_of(gradient.begin() + static_cast<ptrdiff_t>(at), gradient.begin() + static_cast<ptrdiff_t>(at + 8),
                      [](float g) { return g != 0; });
      if (is_named) kernels::rowwise_adagrad({0.025F, 1e-8F}, 8, gradient.data() + at, expected.data(), &sum);
      untouched += is_named ? 0 : 1;
      EXPECT_NEAR(sums[row_number], sum, 1e-6 * sum);
      for (size_t d = 0; d < 8; ++d) EXPECT_NEAR(all[at + d], expected[d], 1e-6) << t << ", " << row;
    }
  }
  EXPECT_GT(untouched, 0U);
  EXPECT_LT(untouched, 20U);
}

}  // namespace
}  // namespace freshet::worker
