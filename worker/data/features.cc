#include "worker/data/features.h"

#include <algorithm>
#include <cmath>

#include "worker/data/label.h"

namespace freshet::worker {
namespace {

constexpr uint32_t kEmbeddingDimDefault = 16;
constexpr uint32_t kHashBucketsMax = 1U << 30;
constexpr int64_t kMicrosPerHour = 3'600'000'000;
constexpr int64_t kMicrosPerDay = 24 * kMicrosPerHour;
constexpr int64_t kWeekdayOfEpoch = 3;  // 1970-01-01 was a Thursday, and Monday is 0

int64_t positive_modulo(int64_t value, int64_t divisor) {
  const int64_t rest = value % divisor;
  return rest < 0 ? rest + divisor : rest;
}

}  // namespace

bool is_categorical(const v1::Feature& feature) { return feature.kind() == v1::Feature::CATEGORICAL; }

bool is_of_time(const v1::Feature& feature) {
  return feature.derive() == v1::Feature::HOUR_OF_DAY || feature.derive() == v1::Feature::DAY_OF_WEEK;
}

size_t width_of(const v1::Feature& feature) { return std::max(feature.length(), 1U); }

ColumnRequest feature_request(const v1::Feature& feature) {
  if (is_of_time(feature)) return {feature.column(), ColumnUse::kTime};
  if (is_categorical(feature)) {
    const bool is_list = feature.multi_valued() && feature.separator().empty();
    return {feature.column(), is_list ? ColumnUse::kTextList : ColumnUse::kText};
  }
  if (feature.length() > 0) return {feature.column(), ColumnUse::kNumberList, feature.length()};
  return {feature.column(), ColumnUse::kNumber};
}

size_t derived(v1::Feature::Derive derive, int64_t time_us) {
  const int64_t in_day = positive_modulo(time_us, kMicrosPerDay);
  if (derive == v1::Feature::HOUR_OF_DAY) return static_cast<size_t>(in_day / kMicrosPerHour);
  return static_cast<size_t>(positive_modulo((time_us - in_day) / kMicrosPerDay + kWeekdayOfEpoch, 7));
}

double derived(v1::Feature::Derive derive, double number) {
  return derive == v1::Feature::LOG ? std::log1p(std::max(number, 0.0)) : number;
}

int32_t hashed_code(std::string_view value, uint32_t buckets) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : value) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111eb;
  hash ^= hash >> 31;
  return static_cast<int32_t>(hash % buckets) + 1;
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
    const bool of_text = feature.hash_buckets() > 0 || feature.multi_valued() || !feature.separator().empty();
    const bool of_numbers = feature.length() > 0 || feature.derive() == v1::Feature::LOG;
    if ((is_categorical(feature) ? of_numbers : of_text) ||
        (is_of_time(feature) && (feature.multi_valued() || feature.length() > 0)) ||
        (!feature.separator().empty() && !feature.multi_valued()) || feature.hash_buckets() > kHashBucketsMax) {
      return invalid_argument("feature '" + feature.column() + "' has options that do not belong together");
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
