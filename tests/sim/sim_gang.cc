#include "tests/sim/sim_gang.h"

#include "base/sha256.h"
#include "proto/evaluation.pb.h"
#include "proto/json.h"

namespace freshet::sim {
namespace {

constexpr double kCleanAuc = 0.6;
constexpr double kPoisonedAuc = 0.5;
constexpr double kChampionLoss = 0.51;
constexpr uint64_t kHoldoutRows = 100;

void add_metric(google::protobuf::RepeatedPtrField<v1::Metric>* metrics, const std::string& name, double value) {
  auto* metric = metrics->Add();
  metric->set_name(name);
  metric->set_value(value);
}

// Rows are in the file's size.
v1::InspectionReport inspect(const v1::InspectTask& task) {
  v1::InspectionReport report;
  for (const auto& entry : task.data().entries()) {
    const bool poisoned = is_poisoned(entry.uri());
    auto* profile = report.add_profiles();
    profile->set_rows(entry.size());
    for (const auto& feature : task.step().tabular().features()) {
      auto* column = profile->add_columns();
      column->set_name(feature.column());
      column->set_type("double");
      column->set_min(0);
      column->set_max(1);
      column->set_mean(0.5);
    }
    auto* label = profile->add_columns();
    label->set_name(task.step().tabular().label().column());
    label->set_type("int64");
    profile->mutable_label()->set_mean(poisoned ? 0 : 0.2);
    profile->mutable_label()->set_constant(poisoned);
    if (task.has_champion()) {
      profile->set_champion_version(task.champion_version());
      add_metric(profile->mutable_champion_metrics(), "auc", poisoned ? kPoisonedAuc : kCleanAuc);
    }
  }
  return report;
}

v1::EvaluationReport evaluate(const v1::EvaluateTask& task, const GangFate& fate) {
  v1::EvaluationReport report;
  report.set_loss("log_loss");
  report.set_champion_version(task.champion_version());
  report.mutable_candidate()->set_model_digest(task.candidate().digest());
  add_metric(report.mutable_candidate()->mutable_metrics(), "auc", fate.auc);
  add_metric(report.mutable_candidate()->mutable_metrics(), "log_loss", fate.loss);
  if (task.has_champion()) {
    report.mutable_champion()->set_model_digest(task.champion().digest());
    add_metric(report.mutable_champion()->mutable_metrics(), "auc", kCleanAuc);
  }
  for (const auto& uri : task.holdout()) {
    auto* entry = report.add_entries();
    entry->set_uri(uri);
    entry->set_rows(kHoldoutRows);
    entry->set_candidate_loss_sum(fate.loss * kHoldoutRows);
    entry->set_champion_loss_sum(task.has_champion() ? kChampionLoss * kHoldoutRows : 0);
    report.set_rows(report.rows() + kHoldoutRows);
  }
  return report;
}

// Of the data, the start and the seed alone: whoever trains the same again gets the same.
std::string trained(const v1::TrainTask& task, uint64_t seed, const GangFate& fate) {
  return "weights of " + task.data().digest() + " from " + task.warm_start().digest() + " by seed " +
         std::to_string(seed) + (fate.replay == GangFate::kSameWeights ? "" : " but for a bit");
}

GangOutput sealed(const std::string& type, const std::string& file, std::string content,
                  v1::ArtifactManifest manifest) {
  GangOutput output;
  output.type = type;
  output.content = std::move(content);
  output.content_sha256 = Sha256::hex_of(output.content);
  manifest.set_type(type);
  auto* listed = manifest.add_files();
  listed->set_name(file);
  listed->set_size(output.content.size());
  listed->set_sha256(output.content_sha256);
  output.manifest = to_canonical_json(manifest);
  output.digest = Sha256::hex_of(output.manifest);
  return output;
}

GangOutput sealed_report(const google::protobuf::Message& report) {
  return sealed("report", "report.json", to_json(report), {});
}

GangOutput sealed_model(std::string content) {
  v1::ArtifactManifest manifest;
  manifest.mutable_checkpoint()->set_weights_digest(Sha256::hex_of(content));
  manifest.mutable_checkpoint()->set_family("tabular");
  return sealed("model", "model.safetensors", std::move(content), std::move(manifest));
}

}  // namespace

bool is_poisoned(const std::string& uri) { return uri.find("poison") != std::string::npos; }

v1::ReplayReport make_replay_report(const v1::AttemptSpec& spec, const GangFate& fate) {
  const v1::ReplayTask& task = spec.replay();
  v1::ReplayReport report;
  report.set_version(task.version());
  report.set_other_start(task.other_start());
  report.set_weights_digest(task.expected().weights_digest());
  report.set_replayed_weights_digest(Sha256::hex_of(trained(task.train(), spec.seed(), fate)));
  report.set_is_equal(report.weights_digest() == report.replayed_weights_digest());
  report.set_is_same_numerics(fate.replay != GangFate::kOtherNumerics);
  if (!report.is_equal()) report.set_not_compared("these weights are made up");
  return report;
}

std::vector<GangOutput> make_outputs(const v1::AttemptSpec& spec, const GangFate& fate) {
  if (spec.has_inspect()) return {sealed_report(inspect(spec.inspect()))};
  if (spec.has_evaluate()) return {sealed_report(evaluate(spec.evaluate(), fate))};
  if (!spec.has_replay()) return {sealed_model(trained(spec.train(), spec.seed(), {}))};
  std::vector<GangOutput> outputs;
  if (spec.replay().keep_model()) {
    outputs.push_back(sealed_model(trained(spec.replay().train(), spec.seed(), fate)));
  }
  outputs.push_back(sealed_report(make_replay_report(spec, fate)));
  return outputs;
}

}  // namespace freshet::sim
