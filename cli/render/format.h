// Small pieces of text: ages, durations, numbers, short ids. Pure; any thread.
#pragma once

#include <google/protobuf/repeated_ptr_field.h>

#include <cstdint>
#include <string>

#include "base/time.h"
#include "cli/render/table.h"
#include "proto/dataset.pb.h"
#include "proto/evaluation.pb.h"
#include "proto/run.pb.h"

namespace freshet::cli {

// "12s", "3m", "5h", "2d"; empty for a time that was never set.
std::string age(int64_t time_us, Time now);
// "250ms", "1.4s", "2m05s", "3h10m"; empty when either end is not set.
std::string duration_between(int64_t from_us, int64_t to_us);
std::string duration_text(Duration duration);
// "2026-11-01T12:00:00.250Z (3m ago)"; empty for a time that was never set.
std::string moment(int64_t time_us, Time now);

// The first 12 digits of an id or digest.
std::string short_id(const std::string& id);
// Four significant digits, or whole with commas from 1,000 on.
std::string number(double value);
// 1234567 -> "1,234,567"
std::string counted(uint64_t value);
// "1.5 GiB"
std::string bytes_text(uint64_t bytes);

// "auc 0.5812, log_loss 0.5031"
std::string metrics_text(const google::protobuf::RepeatedPtrField<v1::Metric>& metrics);
// "passed" or "refused: auc-floor"; empty when nothing was judged.
Cell verdict_cell(const v1::Verdict& verdict);
Style style_of(v1::Run::State state);
Style style_of(v1::StepStatus::State state);
// The name of an enum's value; empty for the unspecified one.
std::string state_name(v1::Run::State state);
std::string state_name(v1::StepStatus::State state);

}  // namespace freshet::cli
