#include "proto/defaults.h"

#include <algorithm>

#include "proto/recipe_steps.h"

namespace freshet {
namespace {

constexpr char kApiVersion[] = "freshet/v1";

// The value of an unset field is 0 or empty; a field whose 0 means something is `optional` in the schema.
template <class Message, class Value>
void fill(Message* message, Value (Message::*get)() const, void (Message::*set)(Value), Value value) {
  if ((message->*get)() == Value{}) (message->*set)(value);
}

template <class DocumentType>
void fill_header(DocumentType* document, const char* kind) {
  if (document->api_version().empty()) document->set_api_version(kApiVersion);
  if (document->kind().empty()) document->set_kind(kind);
  if (document->metadata().project().empty()) document->mutable_metadata()->set_project("default");
}

void fill_schedule(v1::Schedule* schedule) {
  using v1::Schedule;
  if (schedule->kind() == Schedule::CONSTANT) return;
  if (!schedule->has_final_ratio()) schedule->set_final_ratio(schedule->kind() == Schedule::COSINE ? 0.1 : 0);
  if (schedule->kind() == Schedule::WSD) {
    fill(schedule, &Schedule::decay_fraction, &Schedule::set_decay_fraction, 0.2);
  }
}

void fill_train(v1::TrainStep* train) {
  using v1::Batch;
  using v1::Optimizer;
  Optimizer* optimizer = train->mutable_optimizer();
  fill(optimizer, &Optimizer::learning_rate, &Optimizer::set_learning_rate, 1e-3);
  fill(optimizer, &Optimizer::beta1, &Optimizer::set_beta1, 0.9);
  fill(optimizer, &Optimizer::beta2, &Optimizer::set_beta2, 0.999);
  fill(optimizer, &Optimizer::epsilon, &Optimizer::set_epsilon, 1e-8);
  if (optimizer->has_embeddings()) {
    using v1::RowwiseAdagrad;
    RowwiseAdagrad* embeddings = optimizer->mutable_embeddings();
    fill(embeddings, &RowwiseAdagrad::learning_rate, &RowwiseAdagrad::set_learning_rate, 1e-2);
    fill(embeddings, &RowwiseAdagrad::epsilon, &RowwiseAdagrad::set_epsilon, 1e-8);
  }
  if (optimizer->has_schedule()) fill_schedule(optimizer->mutable_schedule());
  Batch* batch = train->mutable_batch();
  fill(batch, &Batch::micro_batch_rows, &Batch::set_micro_batch_rows, train->has_gpt() ? 4u : 512u);
  fill(batch, &Batch::micro_batches, &Batch::set_micro_batches, 8u);
  fill(train, &v1::TrainStep::epochs, &v1::TrainStep::set_epochs, 1u);
  if (train->has_gpt()) {
    using v1::GptModel;
    GptModel* model = train->mutable_gpt();
    fill(model, &GptModel::kv_heads, &GptModel::set_kv_heads, model->heads());
    fill(model, &GptModel::feed_forward, &GptModel::set_feed_forward, 4 * model->width());
  }
  if (!train->has_tabular()) return;
  if (train->tabular().interaction() == v1::TabularModel::CROSS) {
    fill(train->mutable_tabular(), &v1::TabularModel::cross_layers, &v1::TabularModel::set_cross_layers, 3u);
  }
  for (auto& feature : *train->mutable_tabular()->mutable_features()) {
    if (feature.kind() != v1::Feature::CATEGORICAL) continue;
    fill(&feature, &v1::Feature::embedding_dim, &v1::Feature::set_embedding_dim, 16u);
  }
}

void fill_gate(v1::Gate* gate) {
  using v1::RelativeGate;
  if (gate->has_relative()) {
    RelativeGate* relative = gate->mutable_relative();
    fill(relative, &RelativeGate::confidence, &RelativeGate::set_confidence, 0.95);
    fill(relative, &RelativeGate::resamples, &RelativeGate::set_resamples, 2000u);
  }
  if (gate->has_slices()) {
    fill(gate->mutable_slices(), &v1::SliceGate::largest, &v1::SliceGate::set_largest, 10u);
  }
}

// A gate on a replay is the operator's alone: the recipe gets the step that it judges, and promotion waits for it.
void add_replay_step(v1::PipelineSpec* spec) {
  const auto& gates = spec->gates();
  const auto& steps = spec->recipe().steps();
  if (std::none_of(gates.begin(), gates.end(), [](const auto& gate) { return gate.has_replay(); })) return;
  std::string name;
  auto replay = std::find_if(steps.begin(), steps.end(), [](const auto& step) { return step.has_replay(); });
  if (replay != steps.end()) {
    name = replay->name();
  } else {
    const v1::Step* train = train_step(spec->recipe());
    if (train == nullptr) return;  // told by validate()
    const std::string trained = train->name();
    name = kReplayStepName;
    v1::Step* step = spec->mutable_recipe()->add_steps();
    step->set_name(name);
    step->add_needs(trained);
    step->mutable_replay();
  }
  for (auto& step : *spec->mutable_recipe()->mutable_steps()) {
    if (!step.has_promote()) continue;
    const bool waits = std::find(step.needs().begin(), step.needs().end(), name) != step.needs().end();
    if (!waits) step.add_needs(name);
  }
}

void fill_resources(v1::StepResources* resources) {
  using v1::StepResources;
  fill(resources, &StepResources::ranks, &StepResources::set_ranks, 1u);
  fill(resources, &StepResources::threads_per_rank, &StepResources::set_threads_per_rank, 1u);
  // Saturating: a product that does not fit is refused by validate() through its factors.
  const uint64_t slots = uint64_t{resources->ranks()} * resources->threads_per_rank();
  const uint32_t fitting = static_cast<uint32_t>(std::min<uint64_t>(slots, UINT32_MAX));
  fill(resources, &StepResources::slots, &StepResources::set_slots, fitting);
  fill(resources, &StepResources::timeout_s, &StepResources::set_timeout_s, 86400u);
  fill(resources, &StepResources::max_attempts, &StepResources::set_max_attempts, 3u);
}

}  // namespace

void apply_defaults(v1::Retention* retention, const v1::PipelineSpec& spec) {
  if (!retention->has_keep_last()) retention->set_keep_last(10);
  if (!retention->has_keep_best()) retention->set_keep_best(3);
  if (!retention->has_keep_promoted_days()) retention->set_keep_promoted_days(90);
  for (const auto& gate : spec.gates()) {
    if (retention->metric().empty() && gate.has_absolute()) retention->set_metric(gate.absolute().metric());
  }
}

void apply_defaults(v1::Recipe* recipe) {
  for (auto& step : *recipe->mutable_steps()) {
    if (step.has_train()) fill_train(step.mutable_train());
  }
}

void apply_defaults(v1::Pipeline* pipeline) {
  fill_header(pipeline, "Pipeline");
  v1::PipelineSpec* spec = pipeline->mutable_spec();
  if (spec->model().empty()) spec->set_model(pipeline->metadata().name());
  for (auto& input : *spec->mutable_inputs()) {
    v1::Validation* validation = input.mutable_validation();
    fill(validation, &v1::Validation::min_rows, &v1::Validation::set_min_rows, uint64_t{1});
    fill(validation, &v1::Validation::max_missing_share, &v1::Validation::set_max_missing_share, 0.1);
  }
  for (auto& resources : *spec->mutable_resources()) fill_resources(&resources);
  for (auto& gate : *spec->mutable_gates()) fill_gate(&gate);
  apply_defaults(spec->mutable_retention(), *spec);
  if (spec->promotion().alias().empty()) spec->mutable_promotion()->set_alias("champion");
  if (!spec->has_recipe()) return;
  apply_defaults(spec->mutable_recipe());
  add_replay_step(spec);
  if (spec->inputs_size() != 1) return;
  const std::string& only = spec->inputs(0).name();
  for (auto& step : *spec->mutable_recipe()->mutable_steps()) {
    if (step.has_train() && step.train().input().empty()) step.mutable_train()->set_input(only);
    if (step.has_evaluate() && step.evaluate().input().empty()) step.mutable_evaluate()->set_input(only);
  }
}

void apply_defaults(v1::Source* source) {
  fill_header(source, "Source");
  v1::SourceSpec* spec = source->mutable_spec();
  if (spec->has_directory() && spec->directory().glob().empty()) spec->mutable_directory()->set_glob("*");
  if (spec->has_git()) {
    fill(spec->mutable_git(), &v1::GitSource::poll_interval_ms, &v1::GitSource::set_poll_interval_ms, 1000u);
  }
}

void apply_defaults(v1::Trigger* trigger) { fill_header(trigger, "Trigger"); }

void apply_defaults(v1::Webhook* webhook) {
  using v1::WebhookSpec;
  fill_header(webhook, "Webhook");
  WebhookSpec* spec = webhook->mutable_spec();
  fill(spec, &WebhookSpec::timeout_ms, &WebhookSpec::set_timeout_ms, 10'000u);
  fill(spec, &WebhookSpec::max_attempts, &WebhookSpec::set_max_attempts, 15u);
  fill(spec, &WebhookSpec::max_age_s, &WebhookSpec::set_max_age_s, 86'400u);
  fill(spec, &WebhookSpec::retry_ms, &WebhookSpec::set_retry_ms, 1000u);
}

}  // namespace freshet
