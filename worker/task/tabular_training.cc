// Training of the family tabular.
#include <optional>

#include "base/log.h"
#include "worker/checkpoint/model_artifact.h"
#include "worker/data/table.h"
#include "worker/data/training_rows.h"
#include "worker/task/training.h"
#include "worker/train/tabular_objective.h"

namespace freshet::worker {
namespace {

// Bytes a rank; of rows beyond it the kernel decides what stays in memory.
constexpr size_t kRowsOnHeapMax = size_t{1} << 30;

class TabularTraining final : public Training {
 public:
  TabularTraining(std::string warm_start_path, uint64_t seed, std::optional<ModelArtifact> previous,
                  Transform transform, TabularModel model, EncodedRows rows, v1::TabularModel::Compute compute,
                  Communicator& comm)
      : warm_start_path_(std::move(warm_start_path)),
        seed_(seed),
        previous_(std::move(previous)),
        is_warm_(previous_.has_value()),
        transform_(std::move(transform)),
        model_(std::move(model)),
        rows_(std::move(rows)),
        compute_(compute),
        comm_(comm) {}

  std::string family() const override { return kTabularFamily; }
  const std::vector<TensorView>& tensors() const override { return model_.tensors(); }

  Result<std::vector<float>> initial_parameters() override {
    std::vector<float> parameters(model_.parameters());
    model_.initialise(seed_, parameters.data());
    if (!is_warm_) return parameters;
    std::optional<ModelArtifact> previous = std::exchange(previous_, std::nullopt);
    if (!previous) {
      ASSIGN_OR_RETURN(previous, load_model(warm_start_path_));
    }
    return warm_start(model_, std::move(parameters), *previous);
  }

  Result<std::unique_ptr<StepEngine>> engine_on(Accelerator* accelerator, const TrainOptions& options,
                                                Communicator* comm, std::span<const float> parameters) override {
    if (compute_ != v1::TabularModel::BFLOAT16) {
      log_info("train",
               "the tabular model is trained on the CPU: its recipe computes in FLOAT32; with tabular.compute BFLOAT16 "
               "a GPU does it");
      return std::unique_ptr<StepEngine>();
    }
    auto engine = accelerator->tabular_engine(model_, rows_, options, comm, parameters);
    if (engine.is_ok() && *engine) rows_ = {};  // the engine has them packed
    return engine;
  }

  Result<std::unique_ptr<Objective>> objective(const TrainOptions& options, unsigned threads) override {
    if (compute_ == v1::TabularModel::BFLOAT16) {
      log_info("train", "the tabular model computes in float32, as a CPU does: no GPU trains it");
    }
    std::unique_ptr<EmbeddingTables> tables;
    if (options.embeddings) {
      tables = std::make_unique<EmbeddingTables>(std::span(model_.tensors()).first(model_.shape().categorical.size()),
                                                 *options.embeddings, &comm_, options.micro_batches,
                                                 options.micro_batch_rows);
    }
    ASSIGN_OR_RETURN(auto made,
                     TabularObjective::create(model_, rows_, options.micro_batch_rows, threads, std::move(tables)));
    rows_ = {};  // the objective has them packed
    return std::unique_ptr<Objective>(std::make_unique<TabularObjective>(std::move(made)));
  }

  Result<v1::ProducedOutput> save(const std::filesystem::path& output_dir, const TrainedWeights& weights,
                                  const v1::CheckpointInfo& checkpoint) const override {
    return save_model(output_dir, transform_, model_, weights, checkpoint);
  }

 private:
  const std::string warm_start_path_;
  const uint64_t seed_;
  std::optional<ModelArtifact> previous_;  // until it has been used
  const bool is_warm_;
  const Transform transform_;
  const TabularModel model_;
  EncodedRows rows_;  // until they are an objective or an engine
  const v1::TabularModel::Compute compute_;
  Communicator& comm_;
};

}  // namespace

Result<std::unique_ptr<Training>> prepare_tabular(const TaskContext& context) {
  const auto& task = context.attempt.train();
  const auto& wanted = task.step().tabular();
  std::optional<ModelArtifact> previous;
  if (!task.warm_start().path().empty()) {
    ASSIGN_OR_RETURN(previous, load_model(task.warm_start().path()));
    if (!previous->transform.same_features(wanted)) {
      log_info("train", "the features have changed: starting from the seed, not from the champion");
      previous.reset();
    }
  }
  ASSIGN_OR_RETURN(auto data, without_entries(task.data(), {task.holdout().begin(), task.holdout().end()}));
  ASSIGN_OR_RETURN(const auto stream, TableStream::open(data, training_columns(wanted), context.threads));
  ASSIGN_OR_RETURN(
      TrainingRows prepared,
      prepare_rows(wanted, stream, previous ? &previous->transform : nullptr,
                   std::make_shared<Scratch>(kRowsOnHeapMax, context.attempt.output_dir()), context.threads));
  ASSIGN_OR_RETURN(TabularModel model, TabularModel::create(TabularShape::of(prepared.transform)));
  return std::unique_ptr<Training>(std::make_unique<TabularTraining>(
      task.warm_start().path(), context.attempt.seed(), std::move(previous), std::move(prepared.transform),
      std::move(model), std::move(prepared.rows), wanted.compute(), context.comm));
}

}  // namespace freshet::worker
