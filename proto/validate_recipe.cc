// The rules of a recipe: its graph, and what each kind of step needs.
#include <map>
#include <set>

#include "proto/validate.h"
#include "proto/validate_rules.h"

namespace freshet {
namespace {

constexpr uint32_t kWidthMax = 4096;
constexpr uint32_t kEmbeddingMax = 1024;
constexpr uint32_t kHashBucketsMax = 1u << 30;
constexpr uint32_t kLengthMax = 1u << 16;
constexpr uint32_t kMicroBatchesMax = 1024;

void check_feature(const v1::Feature& feature, const std::string& path, Mistakes* mistakes) {
  mistakes->require(!feature.column().empty(), path + ".column",
                    "is missing; name the column the feature is read from");
  mistakes->require(feature.kind() != v1::Feature::KIND_UNSPECIFIED, path + ".kind",
                    "is missing; use NUMERIC or CATEGORICAL");
  const bool of_time = feature.derive() == v1::Feature::HOUR_OF_DAY || feature.derive() == v1::Feature::DAY_OF_WEEK;
  if (feature.kind() == v1::Feature::CATEGORICAL) {
    mistakes->range(uint64_t{feature.embedding_dim()}, 1, kEmbeddingMax, path + ".embedding_dim");
    mistakes->range(uint64_t{feature.hash_buckets()}, 0, kHashBucketsMax, path + ".hash_buckets");
    mistakes->require(feature.length() == 0, path + ".length", "belongs to NUMERIC features; remove it");
    mistakes->require(feature.derive() != v1::Feature::LOG, path + ".derive", "LOG belongs to NUMERIC features");
    mistakes->require(!feature.multi_valued() || !of_time, path + ".multi_valued",
                      "a time has one hour and one day; remove it");
    mistakes->require(feature.separator().empty() || feature.multi_valued(), path + ".separator",
                      "belongs to features with `multi_valued: true`");
    return;
  }
  const std::string categorical_only = "belongs to CATEGORICAL features; remove it or change the kind";
  mistakes->require(feature.embedding_dim() == 0, path + ".embedding_dim", categorical_only);
  mistakes->require(feature.hash_buckets() == 0, path + ".hash_buckets", categorical_only);
  mistakes->require(!feature.multi_valued(), path + ".multi_valued", categorical_only);
  mistakes->require(feature.separator().empty(), path + ".separator", categorical_only);
  mistakes->range(uint64_t{feature.length()}, 0, kLengthMax, path + ".length");
  mistakes->require(feature.length() == 0 || !of_time, path + ".length", "a time is one number; remove it");
}

void check_label(const v1::Label& label, const std::string& path, Mistakes* mistakes) {
  mistakes->require(!label.column().empty(), path + ".column", "is missing; name the column to predict");
  mistakes->require(label.task() != v1::Label::TASK_UNSPECIFIED, path + ".task",
                    "is missing; use BINARY, REGRESSION or MULTICLASS");
  if (!label.has_positive_above()) return;
  mistakes->require(label.task() != v1::Label::REGRESSION && label.task() != v1::Label::MULTICLASS,
                    path + ".positive_above", "belongs to BINARY labels; remove it or change the task");
  mistakes->require(std::isfinite(label.positive_above()), path + ".positive_above", "must be a finite number");
}

void check_interaction(const v1::TabularModel& model, const std::string& path, Mistakes* mistakes) {
  std::set<uint32_t> dims;
  bool has_numeric = false;
  int categorical = 0;
  for (const auto& feature : model.features()) {
    has_numeric |= feature.kind() == v1::Feature::NUMERIC;
    if (feature.kind() != v1::Feature::CATEGORICAL) continue;
    dims.insert(feature.embedding_dim());
    ++categorical;
  }
  const int layers = model.numeric_layers_size();
  for (int i = 0; i < layers; ++i) {
    mistakes->range(uint64_t{model.numeric_layers(i)}, 1, kWidthMax, at(path + ".numeric_layers", i));
  }
  mistakes->require(layers <= 64, path + ".numeric_layers", "has more than 64 layers");
  mistakes->require(layers == 0 || has_numeric, path + ".numeric_layers",
                    "is for NUMERIC features, of which there are none; remove it");
  if (model.interaction() == v1::TabularModel::CROSS) {
    mistakes->range(uint64_t{model.cross_layers()}, 1, 64, path + ".cross_layers");
    mistakes->range(uint64_t{model.cross_rank()}, 0, kWidthMax, path + ".cross_rank");
  } else {
    mistakes->require(model.cross_layers() == 0, path + ".cross_layers",
                      "belongs to interaction CROSS; remove it or change the interaction");
    mistakes->require(model.cross_rank() == 0, path + ".cross_rank",
                      "belongs to interaction CROSS; remove it or change the interaction");
  }
  if (model.interaction() != v1::TabularModel::DOT) return;
  mistakes->require(categorical + (has_numeric ? 1 : 0) >= 2, path + ".interaction",
                    "DOT multiplies features with each other; give it two CATEGORICAL ones, or one and NUMERIC ones");
  mistakes->require(categorical < 128, path + ".interaction", "DOT takes at most 127 CATEGORICAL features");
  if (!mistakes->require(dims.size() == 1, path + ".interaction",
                         "DOT needs CATEGORICAL features of one embedding_dim; make them equal")) {
    return;
  }
  mistakes->require(!has_numeric || (layers > 0 && model.numeric_layers(layers - 1) == *dims.begin()),
                    path + ".numeric_layers",
                    "must end with " + std::to_string(*dims.begin()) +
                        ", the embeddings' width, for interaction DOT to multiply NUMERIC features with them");
}

void check_tabular(const v1::TabularModel& model, const std::string& path, Mistakes* mistakes) {
  mistakes->require(model.features_size() > 0, path + ".features", "is empty; a model needs at least one feature");
  std::set<std::pair<std::string, int>> seen;
  for (int i = 0; i < model.features_size(); ++i) {
    const v1::Feature& feature = model.features(i);
    const std::string here = at(path + ".features", i);
    check_feature(feature, here, mistakes);
    mistakes->require(seen.insert({feature.column(), feature.derive()}).second, here,
                      "column '" + feature.column() + "' is already a feature in the same way; remove one");
    mistakes->require(feature.column().empty() || feature.column() != model.label().column(), here + ".column",
                      "'" + feature.column() + "' is the label, which would give the answer away; remove it");
  }
  if (mistakes->require(model.has_label(), path + ".label", "is missing; say which column to predict")) {
    check_label(model.label(), path + ".label", mistakes);
  }
  mistakes->require(model.weight_column().empty() || model.weight_column() != model.label().column(),
                    path + ".weight_column", "'" + model.weight_column() + "' is the label; name another column");
  std::set<std::string> names;
  for (int i = 0; i < model.column_names_size(); ++i) {
    mistakes->require(names.insert(model.column_names(i)).second, at(path + ".column_names", i),
                      "'" + model.column_names(i) + "' is the name of another column");
  }
  for (int i = 0; i < model.hidden_layers_size(); ++i) {
    mistakes->range(uint64_t{model.hidden_layers(i)}, 1, kWidthMax, at(path + ".hidden_layers", i));
  }
  mistakes->require(model.hidden_layers_size() <= 64, path + ".hidden_layers", "has more than 64 layers");
  check_interaction(model, path, mistakes);
}

void check_gpt(const v1::GptModel& model, const std::string& path, Mistakes* mistakes) {
  mistakes->range(uint64_t{model.layers()}, 1, 1000, path + ".layers");
  mistakes->range(uint64_t{model.heads()}, 1, 1000, path + ".heads");
  mistakes->range(uint64_t{model.width()}, 1, 1u << 16, path + ".width");
  mistakes->range(uint64_t{model.context()}, 1, 1u << 20, path + ".context");
  mistakes->require(model.heads() == 0 || model.width() % model.heads() == 0, path + ".width",
                    std::to_string(model.width()) + " can't be shared by " + std::to_string(model.heads()) +
                        " heads; use a multiple");
  mistakes->require(model.width() % 4 == 0, path + ".width",
                    std::to_string(model.width()) + " is no multiple of 4; use one");
  mistakes->require(model.style() != v1::GptModel::LLAMA || model.heads() == 0 || model.width() % model.heads() != 0 ||
                        model.width() / model.heads() % 2 == 0,
                    path + ".width",
                    std::to_string(model.width()) +
                        " makes heads of an odd size, which rotary positions can't turn; "
                        "use a multiple of twice the heads");
  mistakes->require(model.heads() == 0 || (model.kv_heads() > 0 && model.heads() % model.kv_heads() == 0),
                    path + ".kv_heads",
                    std::to_string(model.heads()) + " heads can't share " + std::to_string(model.kv_heads()) +
                        " heads of keys and values; use a divisor");
  mistakes->require(model.style() == v1::GptModel::LLAMA || model.kv_heads() == model.heads(), path + ".kv_heads",
                    "belongs to the style LLAMA; remove it or change the style");
  if (model.compute() == v1::GptModel::FLOAT8) {
    for (const auto& [value, name] : {std::pair{model.width(), ".width"}, {model.feed_forward(), ".feed_forward"}}) {
      mistakes->require(value % 16 == 0, path + name,
                        std::to_string(value) + " is no multiple of 16, which FLOAT8 wants; use one");
    }
  }
  mistakes->require(model.dropout() >= 0 && model.dropout() < 1, path + ".dropout",
                    number_text(model.dropout()) + " is out of range; use 0 or more and less than 1");
  mistakes->require(model.vocabulary() == 0 || (model.vocabulary() >= 257 && model.vocabulary() <= 1u << 20),
                    path + ".vocabulary",
                    std::to_string(model.vocabulary()) +
                        " is out of range; use at least 257 (the bytes and the end of text), or 0 for bytes");
}

void check_schedule(const v1::Schedule& schedule, const std::string& path, Mistakes* mistakes) {
  if (schedule.kind() == v1::Schedule::CONSTANT) {
    mistakes->require(!schedule.has_final_ratio(), path + ".final_ratio",
                      "belongs to COSINE and WSD; remove it or change the kind");
  } else {
    mistakes->range(schedule.final_ratio(), 0.0, 1.0, path + ".final_ratio");
  }
  if (schedule.kind() == v1::Schedule::WSD) {
    mistakes->range(schedule.decay_fraction(), 0.0, 1.0, path + ".decay_fraction");
  } else {
    mistakes->require(schedule.decay_fraction() == 0, path + ".decay_fraction",
                      "belongs to WSD; remove it or change the kind");
  }
}

void check_train(const v1::TrainStep& train, const std::string& path, Mistakes* mistakes) {
  mistakes->require(train.family_case() != v1::TrainStep::FAMILY_NOT_SET, path,
                    "names no model family; add `tabular:` or `gpt:`");
  if (train.has_tabular()) check_tabular(train.tabular(), path + ".tabular", mistakes);
  if (train.has_gpt()) check_gpt(train.gpt(), path + ".gpt", mistakes);
  const v1::Optimizer& optimizer = train.optimizer();
  const std::string where = path + ".optimizer";
  mistakes->positive(optimizer.learning_rate(), where + ".learning_rate");
  mistakes->not_negative(optimizer.weight_decay(), where + ".weight_decay");
  for (const auto& [value, name] : {std::pair{optimizer.beta1(), ".beta1"}, std::pair{optimizer.beta2(), ".beta2"}}) {
    mistakes->require(value > 0 && value < 1, where + name,
                      number_text(value) + " is out of range; use more than 0 and less than 1");
  }
  mistakes->positive(optimizer.epsilon(), where + ".epsilon");
  mistakes->not_negative(optimizer.clip_norm(), where + ".clip_norm");
  if (optimizer.has_embeddings()) {
    mistakes->require(train.has_tabular(), where + ".embeddings", "belongs to tabular models; remove it");
    mistakes->positive(optimizer.embeddings().learning_rate(), where + ".embeddings.learning_rate");
    mistakes->positive(optimizer.embeddings().epsilon(), where + ".embeddings.epsilon");
  }
  if (optimizer.has_schedule()) check_schedule(optimizer.schedule(), where + ".schedule", mistakes);
  mistakes->range(uint64_t{train.batch().micro_batch_rows()}, 1, 1u << 20, path + ".batch.micro_batch_rows");
  const uint64_t tokens = uint64_t{train.batch().micro_batch_rows()} * train.gpt().context();
  mistakes->require(train.gpt().compute() != v1::GptModel::FLOAT8 || tokens % 16 == 0, path + ".batch.micro_batch_rows",
                    "makes micro-batches of " + std::to_string(tokens) +
                        " tokens, and FLOAT8 wants a multiple of 16; change it or the context");
  mistakes->range(uint64_t{train.batch().micro_batches()}, 1, kMicroBatchesMax, path + ".batch.micro_batches");
  mistakes->range(uint64_t{train.epochs()}, 1, 100'000, path + ".epochs");
  mistakes->range(uint64_t{train.checkpoints_kept()}, 0, 100, path + ".checkpoints_kept");
  mistakes->range(uint64_t{train.checkpoints_in_memory()}, 0, 100, path + ".checkpoints_in_memory");
  mistakes->range(uint64_t{train.guards().rollbacks_max()}, 0, 1000, path + ".guards.rollbacks_max");
  mistakes->range(uint64_t{train.guards().loss_window()}, 0, 10'000, path + ".guards.loss_window");
  const double ratio = train.guards().loss_spike_ratio();
  mistakes->require(ratio == 0 || (ratio > 1 && std::isfinite(ratio)), path + ".guards.loss_spike_ratio",
                    number_text(ratio) + " is out of range; use more than 1, or 0 for none");
}

void check_command(const v1::CommandStep& command, const std::string& path, Mistakes* mistakes) {
  mistakes->require(command.argv_size() > 0 && !command.argv(0).empty(), path + ".argv",
                    "is empty; give the program and its arguments");
  for (int i = 0; i < command.environment_size(); ++i) {
    const std::string& name = command.environment(i).name();
    mistakes->require(!name.empty() && name.find('=') == std::string::npos, at(path + ".environment", i) + ".name",
                      "'" + name + "' is no name of an environment variable");
  }
  static const std::set<std::string> kTypes = {"dataset", "files", "model", "report"};
  std::set<std::string> seen;
  for (int i = 0; i < command.outputs_size(); ++i) {
    const v1::CommandOutput& output = command.outputs(i);
    const std::string here = at(path + ".outputs", i);
    mistakes->name(output.name(), here + ".name");
    mistakes->require(seen.insert(output.name()).second, here + ".name",
                      "'" + output.name() + "' is the name of another output of the step");
    mistakes->require(kTypes.contains(output.type()), here + ".type",
                      "'" + output.type() + "' is no type of output; use one of " + listed(kTypes));
  }
}

using Steps = std::map<std::string, const v1::Step*>;

bool makes_model(const v1::Step& step) {
  if (step.has_train()) return true;
  for (const auto& output : step.command().outputs()) {
    if (output.type() == "model") return true;
  }
  return false;
}

void check_needs(const v1::Step& step, const Steps& steps, const std::string& path, Mistakes* mistakes) {
  std::set<std::string> seen;
  int models = 0;
  int trainings = 0;
  int evaluations = 0;
  for (int i = 0; i < step.needs_size(); ++i) {
    const std::string& need = step.needs(i);
    const std::string here = at(path + ".needs", i);
    auto found = steps.find(need);
    if (found == steps.end()) {
      std::vector<std::string> names;
      for (const auto& [name, unused] : steps) names.push_back(name);
      mistakes->add(here, "there is no step '" + need + "'; the steps are " + listed(names));
      continue;
    }
    mistakes->require(need != step.name(), here, "a step can't need itself");
    mistakes->require(seen.insert(need).second, here, "'" + need + "' is named twice");
    models += makes_model(*found->second) ? 1 : 0;
    trainings += found->second->has_train() ? 1 : 0;
    evaluations += found->second->has_evaluate() ? 1 : 0;
  }
  if (step.has_evaluate()) {
    mistakes->require(models == 1, path + ".needs",
                      "an evaluate step scores the model of exactly one step; name the train step in it");
  }
  if (step.has_replay()) {
    mistakes->require(trainings == 1, path + ".needs",
                      "a replay step does one training again; name the train step in it");
    mistakes->require(step.replay().version().empty() && !step.replay().keep_model(), path + ".replay",
                      "takes nothing; `freshet replay` trains a registered version again");
  }
  if (step.has_promote()) {
    mistakes->require(evaluations == 1, path + ".needs",
                      "a promote step decides on exactly one report; name the evaluate step in it");
  }
}

// The names on one cycle, in order; empty when there is none.
std::vector<std::string> find_cycle(const Steps& steps) {
  enum class Mark { kOpen, kDone };
  std::map<std::string, Mark> marks;
  // Depth first by hand: a graph from outside must not decide how deep our stack goes.
  for (const auto& [start, unused] : steps) {
    if (marks.contains(start)) continue;
    std::vector<std::pair<const v1::Step*, int>> path = {{steps.at(start), 0}};
    marks[start] = Mark::kOpen;
    while (!path.empty()) {
      auto& [step, next] = path.back();
      if (next == step->needs_size()) {
        marks[step->name()] = Mark::kDone;
        path.pop_back();
        continue;
      }
      const std::string& need = step->needs(next++);
      auto found = steps.find(need);
      if (found == steps.end()) continue;
      auto mark = marks.find(need);
      if (mark == marks.end()) {
        marks[need] = Mark::kOpen;
        path.emplace_back(found->second, 0);
      } else if (mark->second == Mark::kOpen) {
        std::vector<std::string> cycle;
        for (const auto& entry : path) {
          if (!cycle.empty() || entry.first->name() == need) cycle.push_back(entry.first->name());
        }
        cycle.push_back(need);
        return cycle;
      }
    }
  }
  return {};
}

}  // namespace

std::vector<Mistake> mistakes_of(const v1::Recipe& recipe, const std::string& path) {
  Mistakes mistakes;
  mistakes.require(recipe.steps_size() > 0, path + ".steps", "is empty; a recipe needs at least one step");
  Steps steps;
  int trains = 0;
  for (int i = 0; i < recipe.steps_size(); ++i) {
    const v1::Step& step = recipe.steps(i);
    const std::string here = at(path + ".steps", i);
    mistakes.name(step.name(), here + ".name");
    mistakes.require(steps.emplace(step.name(), &step).second, here + ".name",
                     "'" + step.name() + "' is the name of another step; names are unique");
    if (step.has_train()) {
      check_train(step.train(), here + ".train", &mistakes);
      mistakes.require(++trains == 1, here + ".train", "is the second train step; a recipe trains one model");
    }
    if (step.has_command()) check_command(step.command(), here + ".command", &mistakes);
    mistakes.require(step.action_case() != v1::Step::ACTION_NOT_SET, here,
                     "says nothing to do; add one of train, evaluate, promote, command, replay");
  }
  for (int i = 0; i < recipe.steps_size(); ++i) {
    check_needs(recipe.steps(i), steps, at(path + ".steps", i), &mistakes);
    mistakes.require(!recipe.steps(i).has_evaluate() || trains > 0, at(path + ".steps", i) + ".evaluate",
                     "needs a train step in the recipe, which says how the data is read");
  }
  auto cycle = find_cycle(steps);
  if (cycle.size() > 2) {
    std::string text;
    for (const auto& name : cycle) text += (text.empty() ? "" : " -> ") + name;
    mistakes.add(path + ".steps", "the steps need each other in a circle: " + text);
  }
  return mistakes.take();
}

}  // namespace freshet
