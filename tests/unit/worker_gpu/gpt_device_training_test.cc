// A gpt trained by the loop on a device: the same bits however it is done.
#include <cstring>

#include "tests/unit/worker_gpu/gpt_device_support.h"
#include "tests/unit/worker_gpu/thread_gang.h"
#include "worker/gpu/device_step.h"
#include "worker/gpu/gpt_device_objective.h"
#include "worker/gpu/staged_communicator.h"
#include "worker/train/trainer.h"

namespace freshet::worker {
namespace {

constexpr GptDeviceShape kShape{2, 16};

// Two passes over nine sequences: a batch of four micro-batches, and one of one sequence.
TrainOptions options() {
  TrainOptions options;
  options.seed = 3;
  options.epochs = 2;
  options.micro_batch_rows = kShape.sequences;
  options.micro_batches = 4;
  options.learning_rate = 3e-3;
  options.weight_decay = 0.1;
  options.clip_norm = 1;
  return options;
}

struct Outcome {
  std::vector<double> losses;
  std::vector<float> weights;
};

class GptDeviceTraining : public cuda::CudaTest {
 protected:
  GptDeviceTraining() {
    auto config = tiny_gpt(Style::kGpt2);
    config.layers = 1;
    config.dropout = 0.1F;
    model_.emplace(model_of(config));
    weights_.resize(model_->parameters());
    model_->initialise(4, weights_.data());
    Philox philox(8, stream_of("text"));
    for (size_t i = 0; i < 9 * kShape.length + 1; ++i) tokens_.push_back(static_cast<Token>(philox.below(i, 7)));
  }

  Status run(Result<Trainer> made, Outcome* outcome) const {
    ASSIGN_OR_RETURN(auto trainer, std::move(made));
    RETURN_IF_ERROR(trainer.run([outcome](const StepResult& step) {
      outcome->losses.push_back(step.loss);
      return Status::ok();
    }));
    ASSIGN_OR_RETURN(outcome->weights, trainer.take_parameters());
    return Status::ok();
  }
  Status train_on_device(Communicator* comm, bool records, Outcome* outcome) const {
    ASSIGN_OR_RETURN(auto objective, GptDeviceObjective::create(*model_, tokens_, kShape, options().seed));
    SingleDeviceCommunicator single;
    StagedDeviceCommunicator staged(comm);
    DeviceCommunicator* devices = &single;
    if (comm->size() > 1) devices = &staged;
    ASSIGN_OR_RETURN(auto engine, DeviceStep::create(objective.get(), options(), {comm, devices}, weights_, records));
    return run(Trainer::create(std::move(engine), options(), comm), outcome);
  }

  std::optional<GptModel> model_;
  std::vector<float> weights_;
  std::vector<Token> tokens_;
  SingleCommunicator alone_;
};

TEST_F(GptDeviceTraining, HasTheSameBitsRecordedOrNotOnAnyRanks) {
  Outcome expected, recorded;
  EXPECT_OK(train_on_device(&alone_, false, &expected));
  ASSERT_EQ(expected.losses.size(), 4U);
  EXPECT_OK(train_on_device(&alone_, true, &recorded));
  std::vector<Outcome> outcomes(2);
  EXPECT_OK(run_thread_gang(2, [&](Communicator& comm) {
    return train_on_device(&comm, false, &outcomes[static_cast<size_t>(comm.rank())]);
  }));
  outcomes.push_back(std::move(recorded));
  for (const Outcome& outcome : outcomes) {
    EXPECT_EQ(outcome.losses, expected.losses);
    ASSERT_EQ(outcome.weights.size(), expected.weights.size());
    EXPECT_EQ(std::memcmp(outcome.weights.data(), expected.weights.data(), 4 * expected.weights.size()), 0);
  }
}

}  // namespace
}  // namespace freshet::worker
