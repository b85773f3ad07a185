#include "proto/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "proto/api.pb.h"
#include "proto/evaluation.pb.h"
#include "proto/pipeline.pb.h"
#include "proto/record.pb.h"

namespace freshet {
namespace {

std::string refusal(std::string_view text) {
  v1::Pipeline pipeline;
  Status status = from_json(text, &pipeline);
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  return status.message();
}

TEST(Json, NamesAreThoseOfTheSchema) {
  v1::Pipeline pipeline;
  pipeline.set_api_version("freshet/v1");
  pipeline.mutable_spec()->set_seed(7);
  pipeline.mutable_spec()->mutable_promotion()->set_policy(v1::Promotion::MANUAL);
  EXPECT_EQ(to_json(pipeline), R"({"api_version":"freshet/v1","spec":{"seed":"7","promotion":{"policy":"MANUAL"}}})");
  v1::Pipeline again;
  ASSERT_TRUE(from_json(to_json_pretty(pipeline), &again).is_ok());
  EXPECT_EQ(to_canonical_json(again), to_canonical_json(pipeline));
}

TEST(Json, ReplacesTheMessage) {
  v1::Pipeline pipeline;
  pipeline.set_kind("Pipeline");
  ASSERT_TRUE(from_json("{}", &pipeline).is_ok());
  EXPECT_EQ(pipeline.kind(), "");
}

TEST(Json, UnknownFieldsAreNamedWithTheirPlace) {
  const std::string message = refusal(R"({"spec": {"inputs": [{"name": "a"}, {"colour": 1}]}})");
  EXPECT_NE(message.find("spec.inputs[1]"), std::string::npos) << message;
  EXPECT_NE(message.find("colour"), std::string::npos) << message;
}

TEST(Json, DuplicateKeysAreRefused) {
  EXPECT_EQ(refusal(R"({"spec": {"seed": 1, "seed": 2}})"), "duplicate key \"seed\"");
  EXPECT_EQ(refusal(R"({"kind": "a", "k\u0069nd": "b"})"),
            "duplicate key \"kind\"");  // the same key, written otherwise
  v1::Pipeline pipeline;
  EXPECT_TRUE(from_json(R"({"metadata": {"name": "a"}, "spec": {"inputs": [{"name": "a"}, {"name": "b"}]}})", &pipeline)
                  .is_ok());
}

TEST(Json, WhatIsNotJsonIsRefused) {
  for (const char* text :
       {"", "{", "{}x", "{} {}", "[1,]", "{'a': 1}", "{\"kind\": \"a\",}", "nul", "{\"kind\": \"\xff\"}"}) {
    EXPECT_NE(refusal(text), "") << text;
  }
  EXPECT_NE(refusal("[]"), "");
  EXPECT_NE(refusal(std::string(10'000, '[')), "");
  std::string deep;
  for (int i = 0; i < 70; ++i) deep += "{\"spec\":";
  EXPECT_NE(refusal(deep + "1" + std::string(70, '}')).find("not JSON"), std::string::npos);
}

TEST(Json, WrongTypesAreRefused) {
  EXPECT_NE(refusal(R"({"spec": {"seed": -1}})"), "");
  EXPECT_NE(refusal(R"({"spec": {"seed": "abc"}})"), "");
  EXPECT_NE(refusal(R"({"spec": {"promotion": {"policy": "SOMETIMES"}}})"), "");
  EXPECT_NE(refusal(R"({"spec": []})"), "");
}

TEST(CanonicalJson, HasOneForm) {
  v1::Gate gate;
  gate.set_name("a \"quoted\"\n\x01 näme");
  gate.mutable_absolute()->set_metric("auc");
  gate.mutable_absolute()->set_min(0);  // optional: set to its default is not the same as unset
  EXPECT_EQ(to_canonical_json(gate), R"({"absolute":{"metric":"auc","min":0},"name":"a \"quoted\"\u000a\u0001 näme"})");
  EXPECT_EQ(to_canonical_json(v1::Gate()), "{}");
}

TEST(CanonicalJson, KeysAreSortedAndDefaultsLeftOut) {
  v1::Step step;
  step.add_needs("z");
  step.add_needs("");
  step.set_name("a");
  step.mutable_promote();
  EXPECT_EQ(to_canonical_json(step), R"({"name":"a","needs":["z",""],"promote":{}})");
  v1::DatasetEntry entry;  // whose fields are numbered in another order
  entry.set_uri("a");
  entry.set_sha256("b");
  entry.set_size(1);
  EXPECT_EQ(to_canonical_json(entry), R"({"sha256":"b","size":1,"uri":"a"})");
}

TEST(CanonicalJson, NumbersAreShortestAndExact) {
  auto number = [](double value) {
    v1::Metric metric;
    metric.set_value(value);
    return to_canonical_json(metric);
  };
  EXPECT_EQ(number(0.1), R"({"value":0.1})");
  EXPECT_EQ(number(1e-3), R"({"value":0.001})");
  EXPECT_EQ(number(1e300), R"({"value":1e+300})");
  EXPECT_EQ(number(-0.0), R"({"value":-0})");
  EXPECT_EQ(number(1.0 / 3), R"({"value":0.3333333333333333})");
  EXPECT_EQ(number(std::nan("")), R"({"value":"NaN"})");
  EXPECT_EQ(number(-std::numeric_limits<double>::infinity()), R"({"value":"-Infinity"})");
  v1::DatasetEntry entry;
  entry.set_size(UINT64_MAX);
  EXPECT_EQ(to_canonical_json(entry), R"({"size":18446744073709551615})");
}

TEST(CanonicalJson, BytesAreBase64) {
  for (auto [bytes, text] : {std::pair{"a", "YQ=="}, {"ab", "YWI="}, {"abc", "YWJj"}, {"\xff\xfe\xfd", "//79"}}) {
    v1::StoredRecord record;
    record.set_payload(bytes);
    EXPECT_EQ(to_canonical_json(record), "{\"payload\":\"" + std::string(text) + "\"}");
  }
}

// It is JSON, and reading it gives the message back.
TEST(CanonicalJson, ReadsBack) {
  v1::EvaluationReport report;
  report.set_loss("log_loss");
  report.set_rows(12);
  auto* metric = report.mutable_candidate()->add_metrics();
  metric->set_name("auc");
  metric->set_value(0.1 + 0.2);
  v1::EvaluationReport again;
  ASSERT_TRUE(from_json(to_canonical_json(report), &again).is_ok());
  EXPECT_EQ(again.candidate().metrics(0).value(), 0.1 + 0.2);
  EXPECT_EQ(to_canonical_json(again), to_canonical_json(report));
}

}  // namespace
}  // namespace freshet
