#include "proto/validate.h"

#include <algorithm>
#include <map>
#include <set>

#include "proto/defaults.h"
#include "proto/recipe_steps.h"
#include "proto/validate_rules.h"

namespace freshet {
namespace {

constexpr char kApiVersion[] = "freshet/v1";

// What a kind of model is measured by.
struct Measured {
  std::string what;
  std::vector<std::string> metrics;
};

enum MeasuredKind { kBinary, kRegression, kMulticlass, kGpt };

const std::vector<Measured>& all_measured() {
  static const std::vector<Measured> kAll = {
      {"BINARY label", {"auc", "log_loss", "calibration_error", "accuracy"}},
      {"REGRESSION label", {"rmse", "mae", "r2"}},
      {"MULTICLASS label", {"log_loss", "accuracy"}},
      {"gpt", {"loss", "perplexity", "bits_per_byte"}},
  };
  return kAll;
}

// Null: not known here, because the recipe is elsewhere or says too little.
const Measured* measured_of(const v1::Recipe& recipe) {
  const v1::Step* step = train_step(recipe);
  if (step == nullptr) return nullptr;
  if (step->train().has_gpt()) return &all_measured()[kGpt];
  switch (step->train().tabular().label().task()) {
    case v1::Label::BINARY:
      return &all_measured()[kBinary];
    case v1::Label::REGRESSION:
      return &all_measured()[kRegression];
    case v1::Label::MULTICLASS:
      return &all_measured()[kMulticlass];
    default:
      return nullptr;
  }
}

template <class DocumentType>
void check_header(const DocumentType& document, const std::string& kind, Mistakes* mistakes) {
  mistakes->require(document.api_version() == kApiVersion, "api_version",
                    "'" + document.api_version() + "' is not known; use " + kApiVersion);
  mistakes->require(document.kind() == kind, "kind", "'" + document.kind() + "' is not " + kind);
  mistakes->name(document.metadata().name(), "metadata.name");
  mistakes->name(document.metadata().project(), "metadata.project");
}

// What an evaluation measures; of any model, where the family is not known here.
std::vector<std::string> known_metrics(const Measured* measured) {
  std::vector<std::string> known;
  for (const Measured& each : all_measured()) {
    if (measured != nullptr && measured != &each) continue;
    for (const auto& metric : each.metrics) {
      if (std::find(known.begin(), known.end(), metric) == known.end()) known.push_back(metric);
    }
  }
  return known;
}

// A metric with one or two bounds, as gates and champion floors have it.
template <class Bounds>
void check_bounds(const Bounds& bounds, const Measured* measured, const std::string& path, Mistakes* mistakes) {
  const std::vector<std::string> known = known_metrics(measured);
  if (bounds.metric().empty()) {
    mistakes->add(path + ".metric", "is missing; use one of " + listed(known));
  } else if (std::find(known.begin(), known.end(), bounds.metric()) == known.end()) {
    mistakes->add(path + ".metric", "'" + bounds.metric() + "' is not measured" +
                                        (measured != nullptr ? " for a " + measured->what : std::string()) +
                                        "; use one of " + listed(known));
  }
  mistakes->require(bounds.has_min() || bounds.has_max(), path, "has no bound; add `min:`, `max:` or both");
  if (bounds.has_min()) mistakes->require(std::isfinite(bounds.min()), path + ".min", "must be a finite number");
  if (bounds.has_max()) mistakes->require(std::isfinite(bounds.max()), path + ".max", "must be a finite number");
  if (bounds.has_min() && bounds.has_max()) {
    mistakes->require(bounds.min() <= bounds.max(), path,
                      "min " + number_text(bounds.min()) + " is above max " + number_text(bounds.max()));
  }
}

void check_input(const v1::InputSpec& input, const Measured* measured, const std::string& path, Mistakes* mistakes) {
  mistakes->name(input.name(), path + ".name");
  mistakes->name(input.source(), path + ".source");
  mistakes->require(input.holdout_newest_entries() > 0, path + ".holdout_newest_entries",
                    "must be at least 1; a candidate is judged on entries that it was not trained on");
  const v1::Validation& validation = input.validation();
  const std::string where = path + ".validation";
  mistakes->range(validation.max_missing_share(), 0, 1, where + ".max_missing_share");
  mistakes->range(validation.max_label_mean_change(), 0, 1, where + ".max_label_mean_change");
  mistakes->not_negative(validation.max_range_excess(), where + ".max_range_excess");
  if (validation.has_champion()) check_bounds(validation.champion(), measured, where + ".champion", mistakes);
}

// `recipe` may be null: it comes from a repository.
void check_gate(const v1::Gate& gate, const Measured* measured, const v1::Recipe* recipe, const std::string& path,
                Mistakes* mistakes) {
  mistakes->name(gate.name(), path + ".name");
  switch (gate.rule_case()) {
    case v1::Gate::kAbsolute:
      check_bounds(gate.absolute(), measured, path + ".absolute", mistakes);
      break;
    case v1::Gate::kRelative: {
      const v1::RelativeGate& relative = gate.relative();
      mistakes->not_negative(relative.margin(), path + ".relative.margin");
      mistakes->require(relative.confidence() > 0 && relative.confidence() < 1, path + ".relative.confidence",
                        number_text(relative.confidence()) + " is out of range; use more than 0 and less than 1");
      mistakes->range(uint64_t{relative.resamples()}, 100, 1'000'000, path + ".relative.resamples");
      break;
    }
    case v1::Gate::kSlices:
      mistakes->require(measured != &all_measured()[kGpt], path + ".slices", "a gpt's text has no columns; remove it");
      mistakes->require(!gate.slices().column().empty(), path + ".slices.column",
                        "is missing; name the column whose values are judged one by one");
      mistakes->range(uint64_t{gate.slices().largest()}, 1, 10'000, path + ".slices.largest");
      mistakes->not_negative(gate.slices().margin(), path + ".slices.margin");
      break;
    case v1::Gate::kReplay:
      mistakes->require(recipe == nullptr || train_step(*recipe) != nullptr, path + ".replay",
                        "the recipe has no train step that could be done again; remove it");
      break;
    case v1::Gate::RULE_NOT_SET:
      mistakes->add(path, "says nothing to judge; add one of absolute, relative, slices, replay");
      break;
  }
}

void check_resources(const v1::StepResources& resources, const v1::Recipe* recipe, const std::string& path,
                     Mistakes* mistakes) {
  mistakes->name(resources.step(), path + ".step");
  mistakes->range(uint64_t{resources.ranks()}, 1, kRanksMax, path + ".ranks");
  mistakes->range(uint64_t{resources.threads_per_rank()}, 1, 1024, path + ".threads_per_rank");
  mistakes->range(uint64_t{resources.slots()}, 1, kRanksMax * 1024, path + ".slots");
  mistakes->range(uint64_t{resources.max_attempts()}, 1, 1000, path + ".max_attempts");
  if (recipe == nullptr) return;
  const v1::Step* step = nullptr;
  std::vector<std::string> names;
  for (const auto& candidate : recipe->steps()) {
    names.push_back(candidate.name());
    if (candidate.name() == resources.step()) step = &candidate;
  }
  if (step == nullptr && resources.step() == kReplayStepName) return;  // of `freshet replay`
  if (step == nullptr) {
    mistakes->add(path + ".step", "there is no step '" + resources.step() + "'; the steps are " + listed(names));
    return;
  }
  if (step->has_promote()) mistakes->add(path, "step '" + step->name() + "' promotes, which takes no resources");
  if (step->has_evaluate()) {
    mistakes->require(resources.ranks() == 1, path + ".ranks", "an evaluate step runs as 1 rank; remove it");
  }
  if (step->has_train()) {
    mistakes->require(resources.ranks() <= step->train().batch().micro_batches(), path + ".ranks",
                      std::to_string(resources.ranks()) + " ranks can't share " +
                          std::to_string(step->train().batch().micro_batches()) +
                          " micro-batches; use at most as many ranks, or more micro_batches in the recipe");
  }
}

void check_retention(const v1::PipelineSpec& spec, const Measured* measured, Mistakes* mistakes) {
  const v1::Retention& retention = spec.retention();
  mistakes->range(uint64_t{retention.keep_last()}, 0, 1'000'000, "spec.retention.keep_last");
  mistakes->range(uint64_t{retention.keep_best()}, 0, 1'000'000, "spec.retention.keep_best");
  mistakes->range(uint64_t{retention.keep_promoted_days()}, 0, 36'500, "spec.retention.keep_promoted_days");
  const std::string& metric = retention.metric();
  if (metric.empty()) return;
  // It may be a gate's by default: then a mistake in it is told there.
  for (const auto& gate : spec.gates()) {
    if (gate.absolute().metric() == metric) return;
  }
  const std::vector<std::string> known = known_metrics(measured);
  mistakes->require(std::find(known.begin(), known.end(), metric) != known.end(), "spec.retention.metric",
                    "'" + metric + "' is not measured; use one of " + listed(known));
}

// The recipe's steps may leave their input out where there is only one.
void check_step_inputs(const v1::PipelineSpec& spec, Mistakes* mistakes) {
  std::vector<std::string> names;
  for (const auto& input : spec.inputs()) names.push_back(input.name());
  for (int i = 0; i < spec.recipe().steps_size(); ++i) {
    const v1::Step& step = spec.recipe().steps(i);
    if (!step.has_train() && !step.has_evaluate()) continue;
    const std::string& input = step.has_train() ? step.train().input() : step.evaluate().input();
    const std::string path = at("spec.recipe.steps", i) + (step.has_train() ? ".train.input" : ".evaluate.input");
    if (input.empty()) {
      mistakes->require(names.size() == 1, path, "is missing; use one of " + listed(names));
    } else {
      mistakes->require(std::find(names.begin(), names.end(), input) != names.end(), path,
                        "there is no input '" + input + "'; the inputs are " + listed(names));
    }
  }
}

// file:///absolute, without a host, a query or what a URI must write as %XX.
void check_file_uri(const std::string& uri, const std::string& path, Mistakes* mistakes) {
  mistakes->require(uri.starts_with("file:///") && uri.size() > 8, path,
                    "'" + uri + "' is no file URI; use file:///absolute/path");
}

template <class Message>
Status status_of(const Message& message) {
  std::string text;
  for (const auto& mistake : mistakes_of(message)) {
    if (!text.empty()) text += "; ";
    text += mistake.path + ": " + mistake.message;
  }
  return text.empty() ? Status::ok() : invalid_argument(text);
}

}  // namespace

bool is_name(std::string_view text) {
  auto is_plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (text.empty() || text.size() > 63 || !is_plain(text.front()) || !is_plain(text.back())) return false;
  return std::all_of(text.begin(), text.end(), [&](char c) { return is_plain(c) || c == '-'; });
}

bool is_path_below(std::string_view path) {
  if (path.empty() || path.front() == '/' || path.find('\0') != std::string_view::npos) return false;
  for (size_t begin = 0; begin <= path.size();) {
    size_t end = std::min(path.find('/', begin), path.size());
    std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

std::vector<Mistake> mistakes_of(const v1::Pipeline& pipeline) {
  Mistakes mistakes;
  check_header(pipeline, "Pipeline", &mistakes);
  const v1::PipelineSpec& spec = pipeline.spec();
  mistakes.name(spec.model(), "spec.model");
  const v1::Recipe* recipe = spec.has_recipe() ? &spec.recipe() : nullptr;
  const Measured* measured = recipe == nullptr ? nullptr : measured_of(*recipe);

  mistakes.require(spec.inputs_size() > 0, "spec.inputs", "is empty; name the data the model is made from");
  std::set<std::string> inputs;
  for (int i = 0; i < spec.inputs_size(); ++i) {
    const std::string path = at("spec.inputs", i);
    check_input(spec.inputs(i), measured, path, &mistakes);
    mistakes.require(inputs.insert(spec.inputs(i).name()).second, path + ".name",
                     "'" + spec.inputs(i).name() + "' is the name of another input");
  }

  mistakes.require(spec.has_recipe() != spec.has_recipe_from(), "spec",
                   spec.has_recipe() ? "has both recipe and recipe_from; keep one"
                                     : "has no recipe; add `recipe:` or `recipe_from:`");
  if (spec.has_recipe_from()) {
    mistakes.name(spec.recipe_from().source(), "spec.recipe_from.source");
    mistakes.require(
        is_path_below(spec.recipe_from().path()), "spec.recipe_from.path",
        "'" + spec.recipe_from().path() + "' is no file in the repository; use a relative path such as recipe.yaml");
  }
  if (recipe != nullptr) {
    for (auto& mistake : mistakes_of(*recipe, "spec.recipe")) mistakes.add(mistake.path, mistake.message);
    check_step_inputs(spec, &mistakes);
  }

  std::set<std::string> steps;
  for (int i = 0; i < spec.resources_size(); ++i) {
    const std::string path = at("spec.resources", i);
    check_resources(spec.resources(i), recipe, path, &mistakes);
    mistakes.require(steps.insert(spec.resources(i).step()).second, path + ".step",
                     "'" + spec.resources(i).step() + "' has its resources already; keep one entry");
  }
  std::set<std::string> gates;
  for (int i = 0; i < spec.gates_size(); ++i) {
    const std::string path = at("spec.gates", i);
    check_gate(spec.gates(i), measured, recipe, path, &mistakes);
    mistakes.require(gates.insert(spec.gates(i).name()).second, path + ".name",
                     "'" + spec.gates(i).name() + "' is the name of another gate");
  }
  mistakes.name(spec.promotion().alias(), "spec.promotion.alias");
  check_retention(spec, measured, &mistakes);
  return mistakes.take();
}

std::vector<Mistake> mistakes_of(const v1::Source& source) {
  Mistakes mistakes;
  check_header(source, "Source", &mistakes);
  switch (source.spec().kind_case()) {
    case v1::SourceSpec::kDirectory: {
      const v1::DirectorySource& directory = source.spec().directory();
      check_file_uri(directory.uri(), "spec.directory.uri", &mistakes);
      mistakes.require(!directory.glob().empty() && directory.glob().find('/') == std::string::npos,
                       "spec.directory.glob",
                       "'" + directory.glob() + "' is no pattern of file names such as *.parquet");
      break;
    }
    case v1::SourceSpec::kGit: {
      const v1::GitSource& git = source.spec().git();
      mistakes.require(!git.uri().empty(), "spec.git.uri", "is missing; give what git can fetch");
      mistakes.require(!git.uri().starts_with("-"), "spec.git.uri", "must not begin with '-'");
      mistakes.require(!git.branch().empty() && git.branch().front() != '-', "spec.git.branch",
                       "'" + git.branch() + "' is no branch; name one, such as main");
      mistakes.range(uint64_t{git.poll_interval_ms()}, 50, 86'400'000, "spec.git.poll_interval_ms");
      break;
    }
    case v1::SourceSpec::KIND_NOT_SET:
      mistakes.add("spec", "says nothing to watch; add one of directory, git");
      break;
  }
  return mistakes.take();
}

std::vector<Mistake> mistakes_of(const v1::Trigger& trigger) {
  Mistakes mistakes;
  check_header(trigger, "Trigger", &mistakes);
  mistakes.name(trigger.spec().pipeline(), "spec.pipeline");
  switch (trigger.spec().condition_case()) {
    case v1::TriggerSpec::kNewData:
      mistakes.name(trigger.spec().new_data().input(), "spec.new_data.input");
      mistakes.range(uint64_t{trigger.spec().new_data().debounce_ms()}, 0, 86'400'000, "spec.new_data.debounce_ms");
      break;
    case v1::TriggerSpec::kNewCommit:
      mistakes.name(trigger.spec().new_commit().source(), "spec.new_commit.source");
      for (int i = 0; i < trigger.spec().new_commit().paths_size(); ++i) {
        const std::string& path = trigger.spec().new_commit().paths(i);
        const std::string_view prefix = std::string_view(path).substr(0, path.size() - (path.ends_with('/') ? 1 : 0));
        mistakes.require(is_path_below(prefix), at("spec.new_commit.paths", i),
                         "'" + path + "' is no path in a repository; write it relative, without '..'");
      }
      break;
    case v1::TriggerSpec::kCron:
      mistakes.require(!trigger.spec().cron().schedule().empty(), "spec.cron.schedule",
                       "is missing; give five fields, such as \"0 3 * * *\"");
      break;
    case v1::TriggerSpec::CONDITION_NOT_SET:
      mistakes.add("spec", "says not when to fire; add one of new_data, new_commit, cron");
      break;
  }
  return mistakes.take();
}

Status validate(const v1::Pipeline& pipeline) { return status_of(pipeline); }
Status validate(const v1::Source& source) { return status_of(source); }
Status validate(const v1::Trigger& trigger) { return status_of(trigger); }
Status validate(const v1::Webhook& webhook) { return status_of(webhook); }
Status validate(const v1::Recipe& recipe) { return status_of(recipe); }

}  // namespace freshet
