// Backup and restore of a real store: consistent while it is written, every byte of it guarded, nothing half made.
#include "daemon/store/backup.h"

#include <atomic>
#include <fstream>
#include <thread>

#include "base/file.h"
#include "base/random.h"
#include "base/sha256.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"
#include "daemon/store/writer.h"
#include "proto/digest.h"
#include "proto/json.h"
#include "proto/record.pb.h"
#include "tests/unit/store/support.h"

namespace freshet {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

Change write_of(const std::string& key, const std::string& value) {
  Change change;
  change.actor = "test";
  change.action = "write " + key;
  change.writes.push_back({key, value});
  return change;
}

Status nothing(Store&, const v1::BackupManifest&) { return Status::ok(); }

class Backup : public testing::Test {
 protected:
  void SetUp() override {
    kv_ = must(RocksKv::open({.data_directory = data() / "store", .ballast_bytes = 0}));
    store_ = std::make_unique<Writer>(*kv_, clock_);
    artifacts_ = must(LocalArtifactStore::open(data() / "artifacts"));
    for (int i = 0; i < 50; ++i) must(store_->commit(write_of("k/" + std::to_string(i), "value")));
    digest_ = add_artifact("weights", "report");
  }

  // An artifact of two files, with its record.
  std::string add_artifact(const std::string& first, const std::string& second) {
    v1::ArtifactManifest manifest;
    for (const auto& [name, bytes] : {std::pair("a.bin", first), std::pair("b/c.bin", second)}) {
      auto* file = manifest.add_files();
      file->set_name(name);
      file->set_size(bytes.size());
      file->set_sha256(Sha256::hex_of(bytes));
      must(put_bytes(*artifacts_, bytes));
    }
    const std::string text = to_canonical_json(manifest);
    v1::ArtifactRecord record;
    record.set_digest(Sha256::hex_of(text));
    *record.mutable_manifest() = must(artifacts_->seal(record.digest(), text));
    Change change;
    create(change, keys::artifact(record.digest()), record);
    must(store_->commit(std::move(change)));
    return record.digest();
  }

  fs::path data() const { return directory_.path() / "data"; }
  fs::path backup() const { return directory_.path() / "backup"; }
  fs::path restored() const { return directory_.path() / "restored"; }
  Result<v1::BackupManifest> write() { return write_backup(*kv_, *artifacts_, options()); }
  BackupOptions options() { return {.directory = backup(), .version = "test", .clock = &clock_}; }
  Result<v1::BackupManifest> restore() { return restore_backup(backup(), restored(), clock_, nothing); }

  TempDir directory_{fs::exists("/dev/shm") ? fs::path("/dev/shm") : fs::temp_directory_path()};
  SystemClock clock_;
  std::unique_ptr<RocksKv> kv_;
  std::unique_ptr<Writer> store_;
  std::unique_ptr<LocalArtifactStore> artifacts_;
  std::string digest_;
};

std::vector<KvPair> everything(const Kv& kv) { return must(kv.snapshot()->scan("", "", 0, false)); }

bool same_pairs(const std::vector<KvPair>& a, const std::vector<KvPair>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const KvPair& x, const KvPair& y) { return x.key == y.key && x.value == y.value; });
}

TEST_F(Backup, leaves_out_an_artifact_that_is_being_removed) {
  const std::string going = add_artifact("old weights", "old report");
  auto record = must(get<v1::ArtifactRecord>(*store_->snapshot(), keys::artifact(going)));
  record->value.set_state(v1::ArtifactRecord::REMOVING);
  Change change;
  update(change, *record);
  must(store_->commit(std::move(change)));
  must(artifacts_->remove(going, [](const std::string&) { return true; }));  // and the daemon died before the rest
  EXPECT_EQ(must(write()).artifacts(), 1u);
  must(restore());
  EXPECT_TRUE(must(LocalArtifactStore::open(restored() / "artifacts"))->exists(digest_));
}

TEST_F(Backup, restores_every_record_and_artifact) {
  const v1::BackupManifest manifest = must(write());
  EXPECT_EQ(manifest.revision(), 51u);
  EXPECT_EQ(manifest.artifacts(), 1u);
  EXPECT_EQ(must(verify_backup(backup())).records(), manifest.records());
  must(store_->commit(write_of("later", "x")));
  must(restore());
  auto kv = must(RocksKv::open({.data_directory = restored() / "store", .ballast_bytes = 0}));
  auto artifacts = must(LocalArtifactStore::open(restored() / "artifacts"));
  EXPECT_EQ(must(artifacts->read(digest_, "b/c.bin")), "report");
  Writer store(*kv, clock_);
  EXPECT_EQ(store.snapshot()->revision(), 51u);
  EXPECT_EQ(must(store.snapshot()->get("later")), std::nullopt);
  must(store.commit(write_of("goes on", "x")));
}

// A writer goes on all the time, but for a bound on how much it writes. The audit log says what each revision held, and
// the backup must hold one of them to the byte.
TEST_F(Backup, made_under_load_is_one_revision) {
  constexpr int kRounds = 4;
  constexpr int kCommitsPerRound = 400;
  std::atomic<bool> done = false;
  std::atomic<int> allowed = 0;
  std::thread writer([&] {
    for (int i = 0; !done;) {
      if (i == allowed) {
        std::this_thread::yield();
        continue;
      }
      ++i;
      Change change = write_of("load/" + std::to_string(i % 500), std::string(2000, static_cast<char>('a' + i % 26)));
      change.writes.push_back({"pair", change.writes[0].payload});
      must(store_->commit(std::move(change)));
    }
  });
  int during = 0;
  for (int round = 0; round < kRounds; ++round) {
    allowed += kCommitsPerRound;
    BackupOptions to = options();
    to.directory = directory_.path() / ("backup-" + std::to_string(round));
    const v1::BackupManifest manifest = must(write_backup(*kv_, *artifacts_, to));
    const fs::path target = directory_.path() / ("restored-" + std::to_string(round));
    during += static_cast<int>(store_->snapshot()->revision() - manifest.revision());
    must(restore_backup(to.directory, target, clock_, nothing));
    auto kv = must(RocksKv::open({.data_directory = target / "store", .ballast_bytes = 0}));
    Writer store(*kv, clock_);
    auto then = store.snapshot();
    EXPECT_EQ(then->revision(), manifest.revision());
    std::map<std::string, std::string> expected;
    for (const auto& audit : must(list<v1::AuditRecord>(*store_->snapshot(), keys::audits()))) {
      if (audit.value.revision() > manifest.revision()) break;
      for (const auto& changed : audit.value.changes()) expected[changed.key()] = changed.value();
    }
    std::map<std::string, std::string> found;
    for (const auto& item : must(then->scan(""))) {
      if (!keys::is_reserved(item.key)) found[item.key] = item.value.payload;
    }
    EXPECT_EQ(found, expected);
  }
  done = true;
  writer.join();
  EXPECT_GT(during, 0) << "nothing was written while the backups were made";
}

TEST_F(Backup, flipped_byte_anywhere_is_named) {
  const v1::BackupManifest manifest = must(write());
  SeededRandom random(11);
  std::vector<std::string> paths = {"manifest"};
  for (const auto& file : manifest.files()) {
    if (file.size() > 0) paths.push_back(file.path());
  }
  for (int i = 0; i < 60; ++i) {
    const std::string& path = paths[static_cast<size_t>(i) % paths.size()];
    const fs::path file = backup() / path;
    // What is linked is the daemon's own file too: it is replaced, not changed.
    const std::string bytes = must(read_file(file));
    std::string damaged = bytes;
    damaged[random.next() % bytes.size()] ^= static_cast<char>(1u << (random.next() % 8));
    must(write_file_durably(file, damaged));
    const Status status = restore().status();
    EXPECT_EQ(status.code(), Code::kCorrupt) << path << ": " << status.to_string();
    EXPECT_THAT(status.message(), HasSubstr(file.string()));
    EXPECT_EQ(verify_backup(backup()).status().message(), status.message());
    EXPECT_FALSE(fs::exists(restored()));
    must(write_file_durably(file, bytes));
  }
  fs::remove(backup() / paths.back());
  EXPECT_THAT(restore().status().message(), HasSubstr((backup() / paths.back()).string() + " is missing"));
}

TEST_F(Backup, damaged_artifact_is_found_when_the_backup_is_made) {
  const std::string blob = Sha256::hex_of("weights");
  const fs::path path = data() / "artifacts/blobs" / blob.substr(0, 2) / blob;
  fs::permissions(path, fs::perms::owner_all);
  std::ofstream(path) << "weighty";
  const Status status = write().status();
  EXPECT_EQ(status.code(), Code::kCorrupt);
  EXPECT_THAT(status.message(), HasSubstr(path.string()));
  EXPECT_TRUE(fs::is_empty(directory_.path() / "data" / "artifacts" / "incoming"));
  EXPECT_FALSE(fs::exists(backup()));
}

TEST_F(Backup, targets_that_hold_something_are_refused) {
  must(write());
  EXPECT_EQ(write().status().message(), backup().string() + " exists and is not an empty directory; name another");
  fs::create_directory(restored());
  std::ofstream(restored() / "mine") << "x";
  EXPECT_EQ(restore().status().code(), Code::kInvalidArgument);
  EXPECT_EQ(must(read_file(restored() / "mine")), "x");
  fs::remove(restored() / "mine");
  must(restore());
  EXPECT_EQ(check_backup_target("relative").code(), Code::kInvalidArgument);
  EXPECT_EQ(verify_backup(data()).status().code(), Code::kNotFound);
}

TEST_F(Backup, that_is_ended_leaves_nothing_and_can_be_made_again) {
  BackupOptions ended = options();
  ended.progress = [](const BackupProgress& progress) {
    return progress.files_done == 1 ? cancelled("enough") : Status::ok();
  };
  EXPECT_EQ(write_backup(*kv_, *artifacts_, ended).status().code(), Code::kCancelled);
  EXPECT_FALSE(fs::exists(backup()));
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_.path()), fs::directory_iterator()), 1);
  must(write());
}

// Collection asks for pins: while a backup is made every artifact has one.
TEST_F(Backup, holds_every_artifact_while_it_is_made) {
  BackupOptions looking = options();
  size_t looks = 0;
  looking.progress = [&](const BackupProgress&) {
    ++looks;
    EXPECT_THAT(must(artifacts_->pins(digest_)), testing::Contains("backup"));
    return Status::ok();
  };
  must(write_backup(*kv_, *artifacts_, looking));
  EXPECT_GE(looks, 4u);
  EXPECT_TRUE(must(artifacts_->pins(digest_)).empty());
}

// One that was collected after the checkpoint was taken: the next checkpoint no longer names it.
TEST_F(Backup, begins_again_when_an_artifact_was_collected_meanwhile) {
  BackupOptions collecting = options();
  collecting.progress = [&, collected = false](const BackupProgress&) mutable {
    if (std::exchange(collected, true)) return Status::ok();
    Change change;
    erase(change, keys::artifact(digest_));
    must(store_->commit(std::move(change)));
    fs::remove_all(data() / "artifacts/blobs");
    return Status::ok();
  };
  EXPECT_EQ(must(write_backup(*kv_, *artifacts_, collecting)).artifacts(), 0u);
  must(restore());
}

TEST_F(Backup, of_the_whole_store_equals_it) {
  must(write());
  const std::vector<KvPair> before = everything(*kv_);
  must(restore());
  EXPECT_TRUE(same_pairs(everything(*must(RocksKv::open({.data_directory = restored() / "store", .ballast_bytes = 0}))),
                         before));
}

}  // namespace
}  // namespace freshet
