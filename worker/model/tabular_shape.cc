#include "worker/model/tabular_shape.h"

namespace freshet::worker {
namespace {

std::string feature_name(const v1::Feature& feature) {
  switch (feature.derive()) {
    case v1::Feature::HOUR_OF_DAY:
      return feature.column() + ".hour_of_day";
    case v1::Feature::DAY_OF_WEEK:
      return feature.column() + ".day_of_week";
    default:
      return feature.column();
  }
}

TabularShape::Interaction interaction_of(const v1::TabularModel& model) {
  switch (model.interaction()) {
    case v1::TabularModel::DOT:
      return TabularShape::Interaction::kDot;
    case v1::TabularModel::CROSS:
      return TabularShape::Interaction::kCross;
    default:
      return TabularShape::Interaction::kNone;
  }
}

}  // namespace

TabularShape TabularShape::of(const Transform& transform) {
  const v1::TabularModel& model = transform.model();
  TabularShape shape;
  auto codes = transform.cardinalities();
  auto dims = transform.embedding_dims();
  for (const auto& feature : model.features()) {
    if (feature.kind() != v1::Feature::CATEGORICAL) continue;
    size_t i = shape.categorical.size();
    shape.categorical.push_back({feature_name(feature), codes.at(i), dims.at(i), feature.multi_valued()});
  }
  shape.numeric = transform.numeric_features();
  shape.numeric_layers.assign(model.numeric_layers().begin(), model.numeric_layers().end());
  shape.interaction = interaction_of(model);
  shape.cross_layers = model.cross_layers();
  shape.cross_rank = model.cross_rank();
  shape.hidden.assign(model.hidden_layers().begin(), model.hidden_layers().end());
  shape.binary = model.label().task() == v1::Label::BINARY;
  shape.classes = static_cast<uint32_t>(transform.classes());
  return shape;
}

}  // namespace freshet::worker
