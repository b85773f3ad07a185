// Dispatch of an attempt to its task, and the tasks that end in a report.
#include <memory>
#include <optional>

#include "base/log.h"
#include "proto/json.h"
#include "worker/checkpoint/artifact_writer.h"
#include "worker/checkpoint/fingerprint.h"
#include "worker/checkpoint/gpt_artifact.h"
#include "worker/checkpoint/manifest.h"
#include "worker/checkpoint/model_artifact.h"
#include "worker/model/predict.h"
#include "worker/task/evaluate.h"
#include "worker/task/inspect.h"
#include "worker/task/task.h"
#include "worker/task/text_tasks.h"

namespace freshet::worker {
namespace {

// Null when the reference names no artifact.
Result<std::unique_ptr<Predictor>> load_if_any(const v1::ArtifactRef& reference) {
  if (reference.path().empty()) return std::unique_ptr<Predictor>();
  return load_predictor(reference.path());
}
Result<std::optional<GptArtifact>> load_gpt_if_any(const v1::ArtifactRef& reference) {
  if (reference.path().empty()) return std::optional<GptArtifact>();
  ASSIGN_OR_RETURN(GptArtifact artifact, load_gpt(reference.path()));
  return std::optional(std::move(artifact));
}

template <class Model>
const Model* address_of(const std::optional<Model>& model) {
  return model ? &*model : nullptr;
}

// A pipeline may change its family while a champion of the old one is in use: there is nothing to compare with it, so
// it counts as none.
template <class Task>
Result<Task> without_other_family(Task task, const std::string& family) {
  if (task.champion().path().empty()) return task;
  ASSIGN_OR_RETURN(const auto manifest, read_manifest(std::filesystem::path(task.champion().path()) / kManifest));
  if (manifest.checkpoint().family() == family) return task;
  log_info("task", "the champion " + task.champion_version() + " is of the family " + manifest.checkpoint().family() +
                       ", not " + family + ": it counts as none");
  task.clear_champion();
  return task;
}

Result<v1::EvaluationReport> evaluate_any(const TaskContext& context) {
  const v1::EvaluateTask& given = context.attempt.evaluate();
  ASSIGN_OR_RETURN(const auto manifest, read_manifest(std::filesystem::path(given.candidate().path()) / kManifest));
  ASSIGN_OR_RETURN(const auto task, without_other_family(given, manifest.checkpoint().family()));
  if (manifest.checkpoint().family() == kGptFamily) {
    ASSIGN_OR_RETURN(const auto candidate, load_gpt(task.candidate().path()));
    ASSIGN_OR_RETURN(const auto champion, load_gpt_if_any(task.champion()));
    return evaluate_text(task, candidate, address_of(champion), context.threads, context.accelerator);
  }
  ASSIGN_OR_RETURN(const auto candidate, load_predictor(task.candidate().path()));
  ASSIGN_OR_RETURN(const auto champion, load_if_any(task.champion()));
  return evaluate(task, *candidate, champion.get(), context.threads);
}

Result<v1::InspectionReport> inspect_any(const TaskContext& context) {
  const v1::InspectTask& given = context.attempt.inspect();
  ASSIGN_OR_RETURN(const auto task, without_other_family(given, given.step().has_gpt() ? kGptFamily : kTabularFamily));
  if (task.step().has_gpt()) {
    ASSIGN_OR_RETURN(const auto champion, load_gpt_if_any(task.champion()));
    return inspect_text(task, address_of(champion), context.threads, context.accelerator);
  }
  ASSIGN_OR_RETURN(const auto champion, load_if_any(task.champion()));
  return inspect(task, champion.get(), context.threads);
}

Status add_engine_build(v1::ModelScores* scores) {
  ASSIGN_OR_RETURN(*scores->mutable_numerics(), numerics_fingerprint(scores->numerics()));
  return Status::ok();
}

Status one_rank_only(const TaskContext& context, const char* task) {
  if (context.comm.size() == 1) return Status::ok();
  return invalid_argument(std::string("the ") + task + " task runs on one rank, not on " +
                          std::to_string(context.comm.size()) + ": set its resources to one rank");
}

}  // namespace

Status write_report(const TaskContext& context, const google::protobuf::Message& report) {
  ASSIGN_OR_RETURN(auto writer, ArtifactWriter::create(context.attempt.output_dir(), "report", "report"));
  RETURN_IF_ERROR(writer.add_file("report.json", to_canonical_json(report)));
  ASSIGN_OR_RETURN(auto output, writer.seal());
  return context.reporter.produced(output);
}

Status run_evaluate(const TaskContext& context) {
  RETURN_IF_ERROR(one_rank_only(context, "evaluate"));
  const auto& task = context.attempt.evaluate();
  if (task.candidate().path().empty()) return invalid_argument("the evaluate task names no candidate");
  ASSIGN_OR_RETURN(auto report, evaluate_any(context));
  RETURN_IF_ERROR(add_engine_build(report.mutable_candidate()));
  if (report.has_champion()) RETURN_IF_ERROR(add_engine_build(report.mutable_champion()));
  report.set_champion_version(task.champion_version());  // also of one that counts as none
  RETURN_IF_ERROR(context.reporter.milestone("evaluated"));
  return write_report(context, report);
}

Status run_inspect(const TaskContext& context) {
  RETURN_IF_ERROR(one_rank_only(context, "inspect"));
  ASSIGN_OR_RETURN(auto report, inspect_any(context));
  return write_report(context, report);
}

bool may_use_accelerator(const v1::AttemptSpec& attempt) {
  if (attempt.has_evaluate()) return !attempt.evaluate().step().has_tabular();
  if (attempt.has_inspect()) return attempt.inspect().step().has_gpt() && attempt.inspect().has_champion();
  return attempt.has_train() || attempt.has_replay();
}

Status run_task(const TaskContext& context) {
  switch (context.attempt.task_case()) {
    case v1::AttemptSpec::kTrain:
      return run_train(context);
    case v1::AttemptSpec::kEvaluate:
      return run_evaluate(context);
    case v1::AttemptSpec::kInspect:
      return run_inspect(context);
    case v1::AttemptSpec::kReplay:
      return run_replay(context);
    default:
      return invalid_argument("the attempt holds no task that this worker can run");
  }
}

}  // namespace freshet::worker
