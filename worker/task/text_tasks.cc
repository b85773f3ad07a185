#include "worker/task/text_tasks.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <initializer_list>
#include <memory>

#include "base/log.h"
#include "worker/checkpoint/fingerprint.h"
#include "worker/data/entry.h"
#include "worker/data/text_entries.h"
#include "worker/model/text_scores.h"
#include "worker/task/holdout.h"

namespace freshet::worker {
namespace {

// What scores the models of a report.
struct Judge {
  unsigned threads = 1;
  Accelerator* accelerator = nullptr;  // null: the CPU

  Result<std::unique_ptr<TextScorer>> scorer(const GptArtifact& model) const {
    if (accelerator != nullptr) return accelerator->text_scorer(model.model, model.parameters);
    return std::unique_ptr<TextScorer>(std::make_unique<CpuTextScorer>(model.model, model.parameters, threads));
  }
  // Of the newest scorer.
  v1::NumericsFingerprint numerics() const {
    return accelerator != nullptr ? accelerator->numerics() : platform_fingerprint();
  }
};

// Numbers of different devices are not compared. Models may be null.
template <class Report>
Result<Report> with_one_judge(std::initializer_list<const GptArtifact*> models, unsigned threads,
                              Accelerator* accelerator, const std::function<Result<Report>(const Judge&)>& report) {
  const bool takes_all = accelerator != nullptr && std::all_of(models.begin(), models.end(), [&](const auto* model) {
                           return model == nullptr || accelerator->scores(model->model);
                         });
  if (takes_all) {
    auto made = report({threads, accelerator});
    if (made.status().code() != Code::kResourceExhausted) return made;
    log_warning("task", "text is scored on the CPU, which takes long: " + made.status().message());
  }
  return report({threads, nullptr});
}

// The loss on each entry, and over all.
struct Losses {
  std::vector<TextLoss> entries;
  TextLoss total;
  v1::NumericsFingerprint numerics;
};

Result<Losses> losses_of(const GptArtifact& model, const std::string& name, const std::vector<EntryTokens>& texts,
                         const Judge& judge) {
  ASSIGN_OR_RETURN(const auto scorer, judge.scorer(model));
  Losses losses;
  losses.numerics = judge.numerics();
  for (const EntryTokens& text : texts) {
    ASSIGN_OR_RETURN(TextLoss loss, text_loss(text, scorer.get()));
    if (!std::isfinite(loss.nats)) {
      return invalid_argument(name + " has a loss on " + text.uri + " that is not a finite number");
    }
    losses.total.nats += loss.nats;
    losses.total.tokens += loss.tokens;
    losses.total.bytes += loss.bytes;
    losses.entries.push_back(loss);
  }
  return losses;
}

void fill_scores(const Losses& losses, const std::string& digest, v1::ModelScores* scores) {
  scores->set_model_digest(digest);
  *scores->mutable_numerics() = losses.numerics;
  for (auto& metric : text_metrics(losses.total)) *scores->add_metrics() = std::move(metric);
}

// Without a champion there is no scorer.
Result<v1::EntryProfile> inspect_entry(const std::filesystem::path& directory, const v1::DatasetEntry& entry,
                                       const v1::InspectTask& task, const GptArtifact* champion, TextScorer* scorer) {
  v1::EntryProfile profile;
  const auto bytes = byte_tokenizer();
  auto text = read_entry_tokens(directory, entry, champion == nullptr ? *bytes : champion->tokenizer.get());
  if (!text.is_ok()) {
    profile.set_error(text.status().message());
    return profile;
  }
  profile.set_rows(text->documents);
  if (champion == nullptr || text->bytes == 0) return profile;
  profile.set_champion_version(task.champion_version());
  ASSIGN_OR_RETURN(const TextLoss loss, text_loss(*text, scorer));
  if (!std::isfinite(loss.nats)) {
    profile.set_error("the champion " + task.champion_version() +
                      " can't be scored on it: its loss is not a finite number");
    return profile;
  }
  for (auto& metric : text_metrics(loss)) *profile.add_champion_metrics() = std::move(metric);
  return profile;
}

Result<v1::EvaluationReport> evaluate_by(const v1::EvaluateTask& task, const GptArtifact& candidate,
                                         const GptArtifact* champion, const Judge& judge) {
  if (task.slices_size() > 0) {
    return invalid_argument("text has no columns to slice by: remove the slices gate from the pipeline");
  }
  ASSIGN_OR_RETURN(const auto holdout, holdout_of(task));
  ASSIGN_OR_RETURN(auto texts, read_tokens(holdout, candidate.tokenizer.get(), judge.threads));
  ASSIGN_OR_RETURN(const Losses candidates, losses_of(candidate, "the candidate", texts, judge));
  v1::EvaluationReport report;
  report.set_loss("nats");
  report.set_rows(candidates.total.bytes);
  fill_scores(candidates, task.candidate().digest(), report.mutable_candidate());
  Losses champions;
  if (champion != nullptr) {
    // A candidate that went on from the champion has its vocabulary.
    if (!(champion->tokenizer == candidate.tokenizer)) {
      ASSIGN_OR_RETURN(texts, read_tokens(holdout, champion->tokenizer.get(), judge.threads));
    }
    ASSIGN_OR_RETURN(champions, losses_of(*champion, "the champion " + task.champion_version(), texts, judge));
    fill_scores(champions, task.champion().digest(), report.mutable_champion());
    report.set_champion_version(task.champion_version());
  }
  for (size_t i = 0; i < candidates.entries.size(); ++i) {
    auto* scores = report.add_entries();
    scores->set_uri(holdout.entries(static_cast<int>(i)).uri());
    scores->set_rows(candidates.entries[i].bytes);
    scores->set_candidate_loss_sum(candidates.entries[i].nats);
    if (champion != nullptr) scores->set_champion_loss_sum(champions.entries[i].nats);
  }
  return report;
}

Result<v1::InspectionReport> inspect_by(const v1::InspectTask& task, const GptArtifact* champion, const Judge& judge) {
  ASSIGN_OR_RETURN(const auto directory, source_directory(task.data().source_uri()));
  std::unique_ptr<TextScorer> scorer;
  if (champion != nullptr) {
    ASSIGN_OR_RETURN(scorer, judge.scorer(*champion));
  }
  v1::InspectionReport report;
  for (const auto& entry : task.data().entries()) {
    ASSIGN_OR_RETURN(*report.add_profiles(), inspect_entry(directory, entry, task, champion, scorer.get()));
  }
  return report;
}

}  // namespace

Result<v1::EvaluationReport> evaluate_text(const v1::EvaluateTask& task, const GptArtifact& candidate,
                                           const GptArtifact* champion, unsigned threads, Accelerator* accelerator) {
  return with_one_judge<v1::EvaluationReport>({&candidate, champion}, threads, accelerator, [&](const Judge& judge) {
    return evaluate_by(task, candidate, champion, judge);
  });
}

Result<v1::InspectionReport> inspect_text(const v1::InspectTask& task, const GptArtifact* champion, unsigned threads,
                                          Accelerator* accelerator) {
  return with_one_judge<v1::InspectionReport>({champion}, threads, accelerator,
                                              [&](const Judge& judge) { return inspect_by(task, champion, judge); });
}

}  // namespace freshet::worker
