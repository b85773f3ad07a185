// Training of the family gpt.
#include <optional>

#include "base/log.h"
#include "worker/checkpoint/gpt_artifact.h"
#include "worker/data/table.h"
#include "worker/data/text_entries.h"
#include "worker/task/training.h"
#include "worker/train/gpt_objective.h"

namespace freshet::worker {
namespace {

class GptTraining final : public Training {
 public:
  GptTraining(std::string warm_start_path, uint64_t seed, std::optional<std::vector<float>> start,
              GptTokenizer tokenizer, GptModel model, std::vector<Token> tokens)
      : warm_start_path_(std::move(warm_start_path)),
        seed_(seed),
        start_(std::move(start)),
        is_warm_(start_.has_value()),
        tokenizer_(std::move(tokenizer)),
        model_(std::move(model)),
        tokens_(std::move(tokens)) {}

  std::string family() const override { return kGptFamily; }
  const std::vector<TensorView>& tensors() const override { return model_.tensors(); }

  Result<std::vector<float>> initial_parameters() override {
    if (auto start = std::exchange(start_, std::nullopt)) return *std::move(start);
    if (is_warm_) {
      ASSIGN_OR_RETURN(GptArtifact previous, load_gpt(warm_start_path_));
      return std::move(previous.parameters);
    }
    std::vector<float> parameters(model_.parameters());
    model_.initialise(seed_, parameters.data());
    return parameters;
  }

  Result<std::unique_ptr<StepEngine>> engine_on(Accelerator* accelerator, const TrainOptions& options,
                                                Communicator* comm, std::span<const float> parameters) override {
    return accelerator->gpt_engine(model_, tokens_, options, comm, parameters);
  }

  Result<std::unique_ptr<Objective>> objective(const TrainOptions& options, unsigned threads) override {
    ASSIGN_OR_RETURN(auto made, GptObjective::create(model_, tokens_, model_.config().context, options.micro_batch_rows,
                                                     options.seed, threads));
    return std::unique_ptr<Objective>(std::make_unique<GptObjective>(std::move(made)));
  }

  Result<v1::ProducedOutput> save(const std::filesystem::path& output_dir, const TrainedWeights& weights,
                                  const v1::CheckpointInfo& checkpoint) const override {
    return save_gpt(output_dir, tokenizer_, model_, weights, checkpoint);
  }

 private:
  const std::string warm_start_path_;
  const uint64_t seed_;
  std::optional<std::vector<float>> start_;  // of the warm start, until it has been used
  const bool is_warm_;
  const GptTokenizer tokenizer_;
  const GptModel model_;
  const std::vector<Token> tokens_;
};

bool same_tensors(const std::vector<TensorView>& a, const std::vector<TensorView>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& x, const auto& y) { return x.name == y.name && x.shape == y.shape; });
}

}  // namespace

Result<std::unique_ptr<Training>> prepare_gpt(const TaskContext& context) {
  const auto& task = context.attempt.train();
  const auto& wanted = task.step().gpt();
  std::optional<GptArtifact> previous;
  if (!task.warm_start().path().empty()) {
    ASSIGN_OR_RETURN(previous, load_gpt(task.warm_start().path()));
    ASSIGN_OR_RETURN(GptModel again, make_gpt(wanted, previous->tokenizer.get().vocabulary_size()));
    if (!same_tensors(again.tensors(), previous->model.tensors())) {
      log_info("train", "the model's shape has changed: starting from the seed, not from the champion");
      previous.reset();
    }
  }
  ASSIGN_OR_RETURN(auto data, without_entries(task.data(), {task.holdout().begin(), task.holdout().end()}));
  // A model that goes on being trained keeps its tokens.
  std::optional<GptTokenizer> tokenizer;
  if (previous) {
    tokenizer = previous->tokenizer;
  } else if (wanted.vocabulary() == 0) {
    tokenizer.emplace(std::nullopt);
  } else {
    ASSIGN_OR_RETURN(Bpe learnt, learn_vocabulary(data, wanted.vocabulary()));
    tokenizer.emplace(std::move(learnt));
  }
  ASSIGN_OR_RETURN(auto entries, read_tokens(data, tokenizer->get(), context.threads));
  std::vector<Token> tokens;
  for (auto& entry : entries) {
    tokens.insert(tokens.end(), entry.tokens.begin(), entry.tokens.end());
    std::vector<Token>().swap(entry.tokens);
  }
  ASSIGN_OR_RETURN(GptModel model, make_gpt(wanted, tokenizer->get().vocabulary_size()));
  std::optional<std::vector<float>> start;
  if (previous) start = std::move(previous->parameters);
  return std::unique_ptr<Training>(std::make_unique<GptTraining>(task.warm_start().path(), context.attempt.seed(),
                                                                 std::move(start), *std::move(tokenizer),
                                                                 std::move(model), std::move(tokens)));
}

}  // namespace freshet::worker
