// The daemon dies while an agent hands in what its gang made.
#include "proto/artifact.pb.h"
#include "proto/json.h"
#include "tests/sim/scenarios/scenario.h"

namespace freshet::sim {
namespace {

using UploadScenario = Scenario;

// An agent asks first whether the daemon has the artifact. It was told so when the seal was on disk and its record was
// not, so the record was never made and the attempt never ended.
TEST_F(UploadScenario, WhatWasSealedAndNotRecordedIsAskedForAgain) {
  const std::string content = "weights";
  v1::ArtifactManifest manifest;
  manifest.set_type("model");
  auto* file = manifest.add_files();
  file->set_name("model.safetensors");
  file->set_size(content.size());
  file->set_sha256(Sha256::hex_of(content));
  const std::string bytes = to_canonical_json(manifest);
  const std::string path = "/api/v1/artifacts/" + Sha256::hex_of(bytes) + "/manifest";
  ASSERT_TRUE(world_.call("PUT", "/api/v1/artifact-files/" + file->sha256(), content).is_ok());
  world_.on_crash_point([](std::string_view name) { return name == "artifact.seal.before_commit"; });
  EXPECT_FALSE(world_.call("PUT", path, bytes).is_ok());
  ASSERT_FALSE(world_.daemon_runs());

  world_.on_crash_point([](std::string_view) { return false; });
  world_.start_daemon();
  EXPECT_EQ(world_.call("GET", path).status().code(), Code::kNotFound);
  ASSERT_TRUE(world_.call("PUT", path, bytes).is_ok());
  EXPECT_EQ(world_.call("GET", path).value(), bytes);
}

}  // namespace
}  // namespace freshet::sim
