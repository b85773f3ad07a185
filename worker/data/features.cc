#include "worker/data/features.h"

#include "worker/data/label.h"

namespace freshet::worker {
namespace {

constexpr uint32_t kEmbeddingDimDefault = 16;
constexpr int64_t kMicrosPerHour = 3'600'000'000;
constexpr int64_t kMicrosPerDay = 24 * kMicrosPerHour;
constexpr int64_t kWeekdayOfEpoch = 3;  // 1970-01-01 was a Thursday, and Monday is 0

int64_t positive_modulo(int64_t value, int64_t divisor) {
  const int64_t rest = value % divisor;
  return rest < 0 ? rest + divisor : rest;
}

}  // namespace

bool is_categorical(const v1::Feature& feature) { return feature.kind() == v1::Feature::CATEGORICAL; }

ColumnRequest feature_request(const v1::Feature& feature) {
  if (feature.derive() != v1::Feature::NONE) return {feature.column(), ColumnUse::kTime};
  return {feature.column(), is_categorical(feature) ? ColumnUse::kText : ColumnUse::kNumber};
}

size_t derived(v1::Feature::Derive derive, int64_t time_us) {
  const int64_t in_day = positive_modulo(time_us, kMicrosPerDay);
  if (derive == v1::Feature::HOUR_OF_DAY) return static_cast<size_t>(in_day / kMicrosPerHour);
  return static_cast<size_t>(positive_modulo((time_us - in_day) / kMicrosPerDay + kWeekdayOfEpoch, 7));
}

v1::TabularModel normalised(v1::TabularModel model) {
  for (auto& feature : *model.mutable_features()) {
    if (!is_categorical(feature)) {
      feature.clear_embedding_dim();
    } else if (feature.embedding_dim() == 0) {
      feature.set_embedding_dim(kEmbeddingDimDefault);
    }
  }
  return model;
}

Status check_model(const v1::TabularModel& model) {
  if (model.features().empty()) return invalid_argument("the model has no features");
  if (model.label().task() == v1::Label::TASK_UNSPECIFIED) return invalid_argument("the label has no task");
  for (const auto& feature : model.features()) {
    if (feature.kind() == v1::Feature::KIND_UNSPECIFIED) {
      return invalid_argument("feature '" + feature.column() + "' has no kind");
    }
    if (feature.column() == model.label().column()) {
      return invalid_argument("label '" + feature.column() + "' is also a feature, which would give the answer away");
    }
  }
  return Status::ok();
}

Status check_all_finite(const Table& table, size_t at, const std::string& name) {
  for (const auto& entry : table.entries()) {
    RETURN_IF_ERROR(check_finite(std::get<NumberColumn>(entry.columns[at]), name, entry.uri));
  }
  return Status::ok();
}

}  // namespace freshet::worker
