#include "cli/render/format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace freshet::cli {
namespace {

constexpr int64_t kSecond = 1'000'000;
constexpr int64_t kMinute = 60 * kSecond;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kDay = 24 * kHour;

std::string padded2(int64_t value) { return (value < 10 ? "0" : "") + std::to_string(value); }

std::string formatted(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

}  // namespace

std::string age(int64_t time_us, Time now) {
  if (time_us == 0) return "";
  const int64_t us = std::max<int64_t>(0, now.us - time_us);
  if (us < 2 * kMinute) return std::to_string(us / kSecond) + "s";
  if (us < 2 * kHour) return std::to_string(us / kMinute) + "m";
  if (us < 2 * kDay) return std::to_string(us / kHour) + "h";
  return std::to_string(us / kDay) + "d";
}

std::string duration_text(Duration duration) {
  const int64_t us = std::max<int64_t>(0, duration.us);
  if (us < kSecond) return std::to_string(us / 1000) + "ms";
  if (us < kMinute) return formatted("%.1fs", static_cast<double>(us / 100'000) / 10);
  if (us < kHour) return std::to_string(us / kMinute) + "m" + padded2(us % kMinute / kSecond) + "s";
  return std::to_string(us / kHour) + "h" + padded2(us % kHour / kMinute) + "m";
}

std::string duration_between(int64_t from_us, int64_t to_us) {
  return from_us == 0 || to_us == 0 ? "" : duration_text({to_us - from_us});
}

std::string moment(int64_t time_us, Time now) {
  return time_us == 0 ? "" : to_iso8601({time_us}) + " (" + age(time_us, now) + " ago)";
}

std::string short_id(const std::string& id) { return id.substr(0, 12); }

std::string counted(uint64_t value) {
  std::string text = std::to_string(value);
  for (size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, ",");
  return text;
}

std::string number(double value) {
  if (!std::isfinite(value)) return std::isnan(value) ? "NaN" : value > 0 ? "inf" : "-inf";
  if (std::abs(value) >= 999.5 && std::abs(value) < 1e15) {
    return (value < 0 ? "-" : "") + counted(static_cast<uint64_t>(std::llround(std::abs(value))));
  }
  return formatted("%.4g", value);
}

std::string bytes_text(uint64_t bytes) {
  static const char* const kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return formatted(unit == 0 ? "%.0f " : "%.1f ", value) + kUnits[unit];
}

std::string metrics_text(const google::protobuf::RepeatedPtrField<v1::Metric>& metrics) {
  std::string text;
  for (const auto& metric : metrics) text += (text.empty() ? "" : ", ") + metric.name() + " " + number(metric.value());
  return text;
}

Cell verdict_cell(const v1::Verdict& verdict) {
  if (verdict.ByteSizeLong() == 0) return Cell("");
  if (verdict.passed()) return Cell("passed", Style::kGood);
  std::string failed;
  for (const auto& gate : verdict.gates()) {
    if (!gate.passed()) failed += (failed.empty() ? "" : ", ") + gate.gate().name();
  }
  return Cell(failed.empty() ? "refused" : "refused: " + failed, Style::kBad);
}

Style style_of(v1::Run::State state) {
  switch (state) {
    case v1::Run::SUCCEEDED:
      return Style::kGood;
    case v1::Run::FAILED:
      return Style::kBad;
    case v1::Run::QUEUED:
    case v1::Run::RUNNING:
      return Style::kBusy;
    default:
      return Style::kDim;
  }
}

Style style_of(v1::StepStatus::State state) {
  switch (state) {
    case v1::StepStatus::SUCCEEDED:
      return Style::kGood;
    case v1::StepStatus::FAILED:
      return Style::kBad;
    case v1::StepStatus::READY:
    case v1::StepStatus::RUNNING:
      return Style::kBusy;
    default:
      return Style::kDim;
  }
}

std::string state_name(v1::Run::State state) {
  return state == v1::Run::STATE_UNSPECIFIED ? "" : v1::Run::State_Name(state);
}

std::string state_name(v1::StepStatus::State state) {
  return state == v1::StepStatus::STATE_UNSPECIFIED ? "" : v1::StepStatus::State_Name(state);
}

}  // namespace freshet::cli
