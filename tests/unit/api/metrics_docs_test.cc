// docs/METRICS.md has one row for each metric, with its type and labels, and no other row.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <set>
#include <sstream>

#include "base/file.h"
#include "daemon/control/run_index.h"
#include "daemon/prometheus_metrics.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"
#include "proto/webhook.pb.h"
#include "tests/paths.h"
#include "tests/unit/api/control_plane.h"

namespace freshet {
namespace {

// A store in which every metric has something to show: one of each resource, and a run that trains.
void fill(Store& store) {
  Change change;
  change.actor = "test";
  change.action = "fill";
  v1::PipelineRecord pipeline;
  pipeline.set_version(1);
  auto* document = pipeline.mutable_pipeline();
  document->mutable_metadata()->set_project("default");
  document->mutable_metadata()->set_name("p");
  document->mutable_spec()->set_model("m");
  document->mutable_spec()->add_inputs()->set_name("i");
  create(change, keys::pipeline("default", "p"), pipeline);
  create(change, keys::pipeline_version("default", "p", 1), pipeline);
  v1::SourceRecord source;
  source.mutable_source()->mutable_metadata()->set_name("s");
  create(change, keys::source("default", "s"), source);
  v1::TriggerRecord trigger;
  trigger.mutable_trigger()->mutable_metadata()->set_name("t");
  create(change, keys::trigger("default", "t"), trigger);
  v1::Model model;
  model.set_name("m");
  create(change, keys::model("default", "m"), model);
  v1::Run run;
  run.set_project("default");
  run.set_id("r");
  run.set_pipeline("p");
  run.set_pipeline_version(1);
  run.set_state(v1::Run::RUNNING);
  control::create_run(run, &change);
  v1::WebhookRecord webhook;
  webhook.mutable_webhook()->mutable_metadata()->set_project("default");
  webhook.mutable_webhook()->mutable_metadata()->set_name("w");
  create(change, keys::webhook("default", "w"), webhook);
  create(change, keys::webhook_state("default", "w"), v1::WebhookState());
  v1::MetricHistory latest;
  for (const char* name : {"loss", "examples_per_second", "step_seconds", "gradient_norm", "learning_rate"}) {
    latest.add_samples()->set_name(name);
  }
  create(change, keys::latest_metrics("default", "r"), latest);
  ASSERT_TRUE(store.commit(std::move(change)).is_ok());
}

// "name type {label, label}" of each metric in the text format; a histogram's own `le` is no label of ours.
std::set<std::string> exported(const std::string& text) {
  static const std::regex kType("# TYPE ([a-z_]+) ([a-z]+)");
  static const std::regex kLabel("([a-z_]+)=\"");
  std::set<std::string> metrics;
  std::istringstream lines(text);
  std::string name, type;
  auto add = [&](const std::set<std::string>& labels) {
    std::string all = name + " " + type;
    for (const auto& label : labels) all += " " + label;
    metrics.insert(all);
  };
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_match(line, match, kType)) {
      name = match[1];
      type = match[2];
    } else if (!line.starts_with('#') && !line.empty()) {
      std::set<std::string> labels;
      for (std::sregex_iterator label(line.begin(), line.end(), kLabel), end; label != end; ++label) {
        if ((*label)[1] != "le") labels.insert((*label)[1]);
      }
      add(labels);
    }
  }
  return metrics;
}

// Rows like: | `freshet_runs` | gauge | `state` | ...
std::set<std::string> documented(const std::string& page) {
  static const std::regex kRow(R"(\| `(freshet_[a-z_]+)` \| ([a-z]+) \|([^|]*)\|.*)");
  static const std::regex kName("`([a-z_]+)`");
  std::set<std::string> metrics;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    std::smatch row;
    if (!std::regex_match(line, row, kRow)) continue;
    const std::string names = row[3];
    std::set<std::string> labels;
    for (std::sregex_iterator label(names.begin(), names.end(), kName), end; label != end; ++label) {
      labels.insert((*label)[1]);
    }
    std::string all = std::string(row[1]) + " " + std::string(row[2]);
    for (const auto& label : labels) all += " " + label;
    metrics.insert(all);
  }
  return metrics;
}

TEST(MetricsDocs, EachMetricHasItsRow) {
  test::ControlPlane plane;
  fill(plane.store);
  PrometheusMetrics metrics;
  metrics.connection_opened();
  metrics.answered("GET", "/api/v1/runs", 200, Duration::millis(1));
  auto text = metrics.text(plane.context);
  ASSERT_TRUE(text.is_ok()) << text.status().to_string();
  auto page = read_file(std::string(FRESHET_SOURCE_ROOT) + "/docs/METRICS.md");
  ASSERT_TRUE(page.is_ok()) << page.status().to_string();
  EXPECT_EQ(documented(*page), exported(*text));
}

}  // namespace
}  // namespace freshet
