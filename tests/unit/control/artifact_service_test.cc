// What agents hand in, when the daemon dies in the middle.
#include "daemon/control/artifact_service.h"

#include <gtest/gtest.h>

#include "tests/unit/control/manual_plane.h"

namespace freshet::control::test {
namespace {

TEST(ArtifactService, WhatWasSealedButNotRecordedIsNotFoundUntilItIsSealedAgain) {
  ManualPlane plane;
  ArtifactService service(plane.context);
  const std::string manifest =
      R"({"files":[{"name":"model.bin","sha256":")" + Sha256::hex_of("weights") + R"(","size":"7"}],"type":"model"})";
  const std::string digest = Sha256::hex_of(manifest);
  ASSERT_TRUE(put_bytes(plane.artifacts, "weights").is_ok());
  take(plane.artifacts.seal(digest, manifest));  // and the daemon died before it recorded that
  EXPECT_EQ(service.manifest(digest).status().code(), Code::kNotFound)
      << "an agent that finds the manifest does not upload, and its output waits for a record for ever";
  take(service.seal("agent/node", digest, manifest));
  EXPECT_EQ(take(service.manifest(digest)), manifest);
  EXPECT_EQ(take(service.read(digest, "model.bin")), "weights");
}

}  // namespace
}  // namespace freshet::control::test
