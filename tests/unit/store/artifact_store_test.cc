// The contract of ArtifactStore, on both implementations.
#include "daemon/store/artifact_store.h"

#include <fstream>

#include "base/file.h"
#include "base/sha256.h"
#include "tests/unit/store/support.h"

namespace freshet {
namespace {

struct Kind {
  const char* name;
  std::unique_ptr<ArtifactStore> (*make)(const std::filesystem::path&);
};

class ArtifactContract : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override { store_ = GetParam().make(directory_.path()); }

  static std::string file_json(const std::string& name, const std::string& bytes) {
    return R"({"name":")" + name + R"(","sha256":")" + Sha256::hex_of(bytes) + R"(","size":")" +
           std::to_string(bytes.size()) + R"("})";
  }
  static std::string manifest_json(const std::string& files) {
    return R"({"files":[)" + files + R"(],"type":"model"})";
  }
  Status seal(const std::string& manifest) { return store_->seal(Sha256::hex_of(manifest), manifest).status(); }

  TempDir directory_;
  std::unique_ptr<ArtifactStore> store_;
};

TEST_P(ArtifactContract, sealed_artifact_is_read_back) {
  must(put_bytes(*store_, "weights"));
  must(put_bytes(*store_, ""));
  std::string manifest = manifest_json(file_json("a/empty", "") + "," + file_json("model.safetensors", "weights"));
  std::string digest = Sha256::hex_of(manifest);
  EXPECT_FALSE(store_->exists(digest));
  EXPECT_EQ(store_->manifest(digest).status().code(), Code::kNotFound);
  v1::ArtifactManifest sealed = must(store_->seal(digest, manifest));
  EXPECT_EQ(sealed.files_size(), 2);
  EXPECT_EQ(sealed.type(), "model");
  must(store_->seal(digest, manifest).status());
  EXPECT_TRUE(store_->exists(digest));
  EXPECT_EQ(must(store_->manifest(digest)), manifest);
  EXPECT_EQ(must(store_->read(digest, "model.safetensors")), "weights");
  EXPECT_EQ(must(store_->read(digest, "a/empty")), "");
  EXPECT_EQ(store_->read(digest, "b").status().message(), "artifact " + digest + " has no file b");
  if (auto path = must(store_->path(digest, "model.safetensors"))) {
    EXPECT_EQ(must(read_file(*path)), "weights");
  }
}

TEST_P(ArtifactContract, blob_is_not_an_artifact) {
  must(put_bytes(*store_, "weights"));
  EXPECT_TRUE(store_->has_file(Sha256::hex_of("weights")));
  EXPECT_FALSE(store_->exists(Sha256::hex_of("weights")));
  EXPECT_FALSE(store_->has_file("../../etc/passwd"));
  EXPECT_FALSE(store_->exists("../sealed"));
}

TEST_P(ArtifactContract, content_must_be_what_was_announced) {
  std::string digest = Sha256::hex_of("weights");
  auto writer = must(store_->put_file(digest, 7));
  must(writer->append("weight"));
  must(writer->append("z"));
  EXPECT_EQ(writer->finish().code(), Code::kInvalidArgument);
  writer = must(store_->put_file(digest, 7));
  must(writer->append("weig"));
  EXPECT_EQ(writer->finish().message(), "file " + digest + " was announced with 7 bytes but has 4");
  writer = must(store_->put_file(digest, 7));
  EXPECT_EQ(writer->append("weights and more").code(), Code::kInvalidArgument);
  writer.reset();
  EXPECT_FALSE(store_->has_file(digest));
  writer = must(store_->put_file(digest));
  must(writer->append("wei"));
  must(writer->append("ghts"));
  must(writer->finish());
  EXPECT_TRUE(store_->has_file(digest));
}

TEST_P(ArtifactContract, refuses_what_is_no_digest) {
  for (const char* bad : {"", "../../../etc/passwd", "ABCDEF", "00"}) {
    EXPECT_EQ(store_->put_file(bad).status().code(), Code::kInvalidArgument) << bad;
    EXPECT_EQ(store_->seal(bad, "{}").status().code(), Code::kInvalidArgument) << bad;
    EXPECT_EQ(store_->manifest(bad).status().code(), Code::kInvalidArgument) << bad;
    EXPECT_EQ(store_->read(bad, "x").status().code(), Code::kInvalidArgument) << bad;
    EXPECT_EQ(store_->pins(bad).status().code(), Code::kInvalidArgument) << bad;
  }
}

TEST_P(ArtifactContract, refuses_bad_manifests) {
  must(put_bytes(*store_, "x"));
  for (const char* name :
       {"", "/etc/passwd", "../x", "a/../x", "a//x", "./x", "a/", "manifest.json", "a\\\\b", "\\n"}) {
    Status status = seal(manifest_json(file_json(name, "x")));
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << name;
    EXPECT_THAT(status.message(), testing::HasSubstr("not a name for a file")) << name;
  }
  EXPECT_THAT(seal("{\"files\":").message(), testing::HasSubstr("not an ArtifactManifest"));
  EXPECT_THAT(seal(R"({"type":"model","unknown":1})").message(), testing::HasSubstr("unknown"));
  EXPECT_THAT(seal(manifest_json(file_json("b", "x") + "," + file_json("a", "x"))).message(),
              testing::HasSubstr("not sorted"));
  EXPECT_THAT(seal(manifest_json(file_json("a", "x") + "," + file_json("a", "x"))).message(),
              testing::HasSubstr("not sorted"));
  EXPECT_THAT(store_->seal(Sha256::hex_of("other"), manifest_json("")).status().message(),
              testing::HasSubstr("the manifest hashes to"));
}

TEST_P(ArtifactContract, every_file_must_be_there_with_its_size) {
  EXPECT_THAT(seal(manifest_json(file_json("a", "x"))).message(), testing::HasSubstr("has not been put"));
  must(put_bytes(*store_, "x"));
  std::string lie = manifest_json(R"({"name":"a","sha256":")" + Sha256::hex_of("x") + R"(","size":"2"})");
  EXPECT_THAT(seal(lie).message(), testing::HasSubstr("is listed with 2 bytes but has 1"));
}

TEST_P(ArtifactContract, pins_are_by_name_and_idempotent) {
  std::string manifest = manifest_json("");
  std::string digest = Sha256::hex_of(manifest);
  EXPECT_EQ(store_->pin(digest, "model flights/3").code(), Code::kNotFound);
  must(seal(manifest));
  must(store_->pin(digest, "model flights/3"));
  must(store_->pin(digest, "model flights/3"));
  must(store_->pin(digest, "run 1"));
  EXPECT_EQ(must(store_->pins(digest)), (std::set<std::string>{"model flights/3", "run 1"}));
  must(store_->unpin(digest, "run 1"));
  must(store_->unpin(digest, "run 1"));
  EXPECT_EQ(must(store_->pins(digest)), (std::set<std::string>{"model flights/3"}));
  EXPECT_EQ(store_->pin(digest, "..").code(), Code::kInvalidArgument);
}

TEST_P(ArtifactContract, what_is_removed_leaves_strays_that_a_sweep_takes) {
  const Time always = Time::never();
  auto sweep = [&](Time before, bool dry_run) {
    StrayFiles all;
    for (size_t part = 0; part < ArtifactStore::kSweepParts; ++part) {
      StrayFiles found = must(store_->sweep(part, before, dry_run));
      all.files += found.files;
      all.bytes += found.bytes;
    }
    return all;
  };
  auto none = [](const std::string&) { return false; };
  auto any = [](const std::string&) { return true; };
  must(put_bytes(*store_, "own"));
  must(put_bytes(*store_, "shared"));
  const std::string first = manifest_json(file_json("a", "own") + "," + file_json("b", "shared"));
  const std::string second = manifest_json(file_json("b", "shared"));
  must(seal(first));
  must(seal(second));
  const std::string digest = Sha256::hex_of(first);
  EXPECT_EQ(must(store_->sealed()).size(), 2u);
  EXPECT_EQ(sweep(always, false).files, 0u);
  must(store_->pin(digest, "model m/1"));
  EXPECT_EQ(store_->remove(digest, none).message(), "artifact " + digest + " is pinned by model m/1");
  EXPECT_TRUE(store_->exists(digest));
  must(store_->remove(digest, any));
  must(store_->remove(digest, any));
  EXPECT_FALSE(store_->exists(digest));
  EXPECT_TRUE(must(store_->pins(digest)).empty());
  EXPECT_EQ(store_->manifest(digest).status().code(), Code::kNotFound);
  EXPECT_EQ(must(store_->sealed()).size(), 1u);

  EXPECT_EQ(sweep(Time{}, false).files, 0u) << "too young";
  EXPECT_EQ(sweep(always, true).bytes, 3 + first.size());
  EXPECT_TRUE(store_->has_file(Sha256::hex_of("own"))) << "a dry run";
  EXPECT_EQ(sweep(always, false).files, 2u);
  EXPECT_FALSE(store_->has_file(Sha256::hex_of("own")));
  EXPECT_FALSE(store_->touch_file(Sha256::hex_of("own")));
  EXPECT_TRUE(store_->touch_file(Sha256::hex_of("shared")));
  EXPECT_EQ(must(store_->read(Sha256::hex_of(second), "b")), "shared");
  EXPECT_EQ(seal(first).code(), Code::kConflict) << "its file has to be put again";
  must(put_bytes(*store_, "own"));
  must(seal(first));
  EXPECT_EQ(sweep(always, false).files, 0u);
}

INSTANTIATE_TEST_SUITE_P(Kinds, ArtifactContract,
                         testing::Values(Kind{"memory",
                                              [](const std::filesystem::path&) -> std::unique_ptr<ArtifactStore> {
                                                return std::make_unique<MemoryArtifactStore>();
                                              }},
                                         Kind{"local",
                                              [](const std::filesystem::path& root) -> std::unique_ptr<ArtifactStore> {
                                                return must(LocalArtifactStore::open(root / "artifacts"));
                                              }}),
                         [](const auto& kind) { return std::string(kind.param.name); });

size_t count_files(const std::filesystem::path& root) {
  size_t count = 0;
  for (const auto& item : std::filesystem::recursive_directory_iterator(root)) count += item.is_regular_file() ? 1 : 0;
  return count;
}

TEST(LocalArtifactStore, survives_reopening_and_clears_what_a_crash_left) {
  TempDir directory;
  std::string manifest = R"({"type":"files"})";
  std::string digest = Sha256::hex_of(manifest);
  {
    auto store = must(LocalArtifactStore::open(directory.path()));
    must(store->seal(digest, manifest).status());
    must(store->pin(digest, "run 1"));
    auto dropped = must(store->put_file(Sha256::hex_of("x")));
    must(dropped->append("x"));
  }
  EXPECT_EQ(count_files(directory.path() / "incoming"), 0u);
  std::ofstream(directory.path() / "incoming" / "left-over") << "half";
  std::ofstream(directory.path() / "sealed" / (digest + ".tmp-12-13")) << "half";
  std::ofstream(directory.path() / "pins" / digest / "run%201.tmp-12-13") << "half";
  auto store = must(LocalArtifactStore::open(directory.path()));
  EXPECT_EQ(count_files(directory.path() / "incoming"), 0u);
  EXPECT_EQ(must(store->manifest(digest)), manifest);
  EXPECT_EQ(count_files(directory.path() / "sealed"), 1u);
  EXPECT_EQ(must(store->pins(digest)), std::set<std::string>{"run 1"});
}

TEST(LocalArtifactStore, a_sweep_goes_by_the_times_of_the_files_and_touch_renews_them) {
  TempDir directory;
  auto store = must(LocalArtifactStore::open(directory.path()));
  must(put_bytes(*store, "stray"));
  const std::string sha256 = Sha256::hex_of("stray");
  const size_t part = std::stoul(sha256.substr(0, 2), nullptr, 16);
  const auto path = directory.path() / "blobs" / sha256.substr(0, 2) / sha256;
  auto age = [&] {
    std::filesystem::last_write_time(path, std::filesystem::file_time_type::clock::now() - std::chrono::hours(2));
  };
  const Time hour_ago = SystemClock().now() - Duration::seconds(3600);
  age();
  EXPECT_TRUE(store->touch_file(sha256));
  EXPECT_EQ(must(store->sweep(part, hour_ago, false)).files, 0u);
  age();
  EXPECT_EQ(must(store->sweep(part, hour_ago, false)).files, 1u);
  EXPECT_FALSE(store->has_file(sha256));
}

TEST(LocalArtifactStore, sweeps_nothing_while_a_manifest_cannot_be_read) {
  TempDir directory;
  auto store = must(LocalArtifactStore::open(directory.path()));
  must(put_bytes(*store, "weights"));
  const std::string manifest = R"({"files":[{"name":"a","sha256":")" + Sha256::hex_of("weights") + R"(","size":"7"}]})";
  const std::string digest = Sha256::hex_of(manifest);
  must(store->seal(digest, manifest).status());
  std::filesystem::remove(directory.path() / "blobs" / digest.substr(0, 2) / digest);
  EXPECT_FALSE(store->sweep(0, Time::never(), false).is_ok());
  EXPECT_TRUE(store->has_file(Sha256::hex_of("weights")));
}

TEST(LocalArtifactStore, changed_bytes_are_corrupt) {
  TempDir directory;
  auto store = must(LocalArtifactStore::open(directory.path()));
  must(put_bytes(*store, "weights"));
  std::string sha = Sha256::hex_of("weights");
  std::string manifest = R"({"files":[{"name":"w","sha256":")" + sha + R"(","size":"7"}]})";
  std::string digest = Sha256::hex_of(manifest);
  must(store->seal(digest, manifest).status());
  must(write_file_durably(directory.path() / "blobs" / sha.substr(0, 2) / sha, "weighty"));
  EXPECT_EQ(store->read(digest, "w").status().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace freshet
