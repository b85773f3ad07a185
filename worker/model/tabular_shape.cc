#include "worker/model/tabular_shape.h"

#include "worker/data/features.h"

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

TabularShape TabularShape::of(const v1::TabularModel& model, size_t classes) {
  TabularShape shape;
  for (const auto& feature : model.features()) {
    if (feature.kind() == v1::Feature::CATEGORICAL) {
      shape.categorical.push_back({feature_name(feature), 1, feature.embedding_dim(), feature.multi_valued()});
    } else {
      shape.numeric += width_of(feature);
    }
  }
  shape.numeric_layers.assign(model.numeric_layers().begin(), model.numeric_layers().end());
  shape.interaction = interaction_of(model);
  shape.cross_layers = model.cross_layers();
  shape.cross_rank = model.cross_rank();
  shape.hidden.assign(model.hidden_layers().begin(), model.hidden_layers().end());
  shape.binary = model.label().task() == v1::Label::BINARY;
  shape.classes = static_cast<uint32_t>(classes);
  return shape;
}

TabularShape TabularShape::of(const Transform& transform) {
  TabularShape shape = of(transform.model(), transform.classes());
  const auto codes = transform.cardinalities();
  for (size_t i = 0; i < codes.size(); ++i) shape.categorical.at(i).codes = codes[i];
  return shape;
}

}  // namespace freshet::worker
