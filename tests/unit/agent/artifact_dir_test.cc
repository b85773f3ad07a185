#include "agent/artifact_dir.h"

#include "base/sha256.h"
#include "proto/json.h"
#include "tests/unit/agent/support.h"

namespace freshet::agent {
namespace {

using ::testing::HasSubstr;

TEST(ArtifactDirTest, NamesStayInsideTheArtifact) {
  for (const char* name : {"model.safetensors", "sub/dir/file", "..x"})
    EXPECT_TRUE(is_artifact_file_name(name)) << name;
  for (const char* name : {"", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".", "./a", "manifest.json"}) {
    EXPECT_FALSE(is_artifact_file_name(name)) << name;
  }
}

TEST(ArtifactDirTest, AManifestThatLeadsOutsideIsRefused) {
  v1::ArtifactManifest manifest;
  manifest.add_files()->set_name("../../evil");
  const std::string bytes = to_canonical_json(manifest);
  EXPECT_EQ(parse_manifest(bytes, Sha256::hex_of(bytes)).status().code(), Code::kCorrupt);
  EXPECT_THAT(parse_manifest("{}", Sha256::hex_of("x")).status().message(), HasSubstr("has the digest"));
}

TEST(ArtifactDirTest, SealingIsTheSameForTheSameContent) {
  TempDir dir;
  std::vector<std::string> digests;
  for (const char* name : {"one", "two"}) {
    const fs::path work = dir.path() / (std::string(name) + ".work");
    must(make_directories(work / "sub"));
    write_text(work / "b", "second");
    write_text(work / "sub" / "a", "first");
    digests.push_back(must(seal_directory(work, dir.path() / name, "files")));
    EXPECT_FALSE(fs::exists(work));
    EXPECT_EQ(must(check_artifact(dir.path() / name, digests.back(), true)).files_size(), 2);
  }
  EXPECT_EQ(digests[0], digests[1]);
  write_text(dir.path() / "one" / "b", "sEcond");
  must(check_artifact(dir.path() / "one", digests[0], false).status());
  EXPECT_THAT(check_artifact(dir.path() / "one", digests[0], true).status().message(), HasSubstr("its manifest says"));
  write_text(dir.path() / "one" / "b", "short");
  EXPECT_THAT(check_artifact(dir.path() / "one", digests[0], false).status().message(), HasSubstr("has 5 bytes"));
  EXPECT_EQ(check_artifact(dir.path() / "two", digests[0].substr(1) + "0", false).status().code(), Code::kCorrupt);
}

TEST(ArtifactDirTest, LinksAreNotSealed) {
  TempDir dir;
  must(make_directories(dir.path() / "work"));
  fs::create_symlink("/etc/passwd", dir.path() / "work" / "link");
  EXPECT_THAT(seal_directory(dir.path() / "work", dir.path() / "out", "files").status().message(),
              HasSubstr("link is not a regular file"));
}

}  // namespace
}  // namespace freshet::agent
