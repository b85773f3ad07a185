#include "worker/gpu/step_products.h"

#include <algorithm>

#include "worker/checkpoint/gpt_artifact.h"
#include "worker/data/features.h"
#include "worker/gpu/gpt_device_products.h"
#include "worker/gpu/gpt_device_scorer.h"
#include "worker/gpu/tabular_device_objective.h"
#include "worker/train/options.h"

namespace freshet::worker {
namespace {

using Shapes = std::vector<cuda::ProductShape>;

Result<Shapes> products_of_gpt(const v1::GptModel& wanted, size_t rows, const StepData& data) {
  if (wanted.compute() == v1::GptModel::FLOAT32) {
    return invalid_argument(
        "the gpt computes in FLOAT32, on the CPU; with `compute: BFLOAT16` or FLOAT8 a GPU does it");
  }
  size_t vocabulary = data.vocabulary;
  if (vocabulary == 0) vocabulary = wanted.vocabulary();
  if (vocabulary == 0) vocabulary = GptTokenizer(std::nullopt).get().vocabulary_size();
  ASSIGN_OR_RETURN(const GptModel model, make_gpt(wanted, vocabulary));
  GptDeviceOptions options;
  options.float8 = wanted.compute() == v1::GptModel::FLOAT8 && data.has_float8;
  ASSIGN_OR_RETURN(const auto training, plan_gpt_device(model.config(), {rows, model.config().context}, options));
  ASSIGN_OR_RETURN(const auto scoring, plan_gpt_scoring(model.config()));
  Shapes shapes = gpt_device_products(model.config(), training);
  const Shapes more = gpt_device_products(model.config(), scoring);
  shapes.insert(shapes.end(), more.begin(), more.end());
  std::sort(shapes.begin(), shapes.end());
  shapes.erase(std::unique(shapes.begin(), shapes.end()), shapes.end());
  return shapes;
}

Result<Shapes> products_of_tabular(const v1::TabularModel& wanted, const TrainOptions& options, size_t classes) {
  if (wanted.compute() != v1::TabularModel::BFLOAT16) {
    return invalid_argument(
        "the tabular model computes in FLOAT32, on the CPU; with `compute: BFLOAT16` a GPU does it");
  }
  const bool has_classes = wanted.label().task() == v1::Label::MULTICLASS;
  if (has_classes != (classes > 0)) {
    return invalid_argument(has_classes ? "how many classes the label has is in the data: name them"
                                        : "the label has no classes");
  }
  ASSIGN_OR_RETURN(const auto model, TabularModel::create(TabularShape::of(normalised(wanted), classes)));
  RETURN_IF_ERROR(TabularDeviceObjective::check(model, options).with_context("the tabular model is the CPU's"));
  return TabularDevice::products_of(model, options.micro_batch_rows);
}

}  // namespace

Result<Shapes> products_of_step(const v1::TrainStep& step, const StepData& data) {
  ASSIGN_OR_RETURN(const auto options, TrainOptions::of(step, 0));
  if (step.has_gpt()) return products_of_gpt(step.gpt(), options.micro_batch_rows, data);
  if (step.has_tabular()) return products_of_tabular(step.tabular(), options, data.classes);
  return invalid_argument("the train step has no model");
}

}  // namespace freshet::worker
