// What only the store on disk can get wrong: reopening, damaged files, a second daemon, a full disk.
#include "daemon/store/rocks_kv.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "base/file.h"
#include "daemon/store/audit.h"
#include "daemon/store/writer.h"
#include "tests/unit/store/small_disk.h"
#include "tests/unit/store/support.h"

namespace freshet {
namespace {

namespace fs = std::filesystem;

Result<std::unique_ptr<RocksKv>> open_at(const fs::path& path, uint64_t ballast = 0) {
  return RocksKv::open({.data_directory = path, .ballast_bytes = ballast});
}

std::string key_of(int i) { return "k/" + std::to_string(1000 + i); }

void fill(Kv& kv, int count) {
  for (int i = 0; i < count; ++i) must(kv.write({{key_of(i), std::string(500, 'x')}}));
}

// The write-ahead log that holds the records.
fs::path newest_log(const fs::path& directory) {
  fs::path newest;
  for (const auto& item : fs::directory_iterator(directory / "db")) {
    if (item.path().extension() == ".log" && item.file_size() > 0 && item.path() > newest) newest = item.path();
  }
  return newest;
}

TEST(RocksKv, reopens_with_everything) {
  TempDir directory;
  fill(*must(open_at(directory.path())), 50);
  auto kv = must(open_at(directory.path()));
  EXPECT_EQ(must(kv->snapshot()->scan("k/", "", 0, false)).size(), 50u);
}

TEST(RocksKv, flipped_bit_in_the_log_refuses_to_open) {
  TempDir directory;
  fill(*must(open_at(directory.path())), 200);
  fs::path log = newest_log(directory.path());
  std::string bytes = must(read_file(log));
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  must(write_file_durably(log, bytes));
  Status status = open_at(directory.path()).status();
  EXPECT_EQ(status.code(), Code::kCorrupt) << status.to_string();
  EXPECT_THAT(status.message(), testing::HasSubstr((directory.path() / "db").string()));
}

// A write that was under way when the power went: its record is not whole, and nobody was told that it is stored.
TEST(RocksKv, torn_tail_of_the_log_opens_with_all_that_was_acknowledged) {
  TempDir directory;
  fill(*must(open_at(directory.path())), 199);
  const std::string mark = must(read_file(directory.path() / "high-water"));
  {
    auto kv = must(open_at(directory.path()));
    must(kv->write({{key_of(199), std::string(500, 'x')}}));
  }
  must(write_file_durably(directory.path() / "high-water", mark));
  fs::path log = newest_log(directory.path());
  fs::resize_file(log, fs::file_size(log) - 50);
  auto kv = must(open_at(directory.path()));
  EXPECT_EQ(must(kv->snapshot()->scan("k/", "", 0, false)).size(), 199u);
}

// As where the file's size had reached the disk and its last blocks had not: they read as zeros.
TEST(RocksKv, zeros_at_the_end_of_the_log_open_with_all_that_was_acknowledged) {
  for (size_t zeros : {30u, 3000u, 60'000u}) {
    TempDir directory;
    fill(*must(open_at(directory.path())), 199);
    const std::string mark = must(read_file(directory.path() / "high-water"));
    {
      auto kv = must(open_at(directory.path()));
      must(kv->write({{key_of(199), std::string(70'000, 'x')}}));
    }
    must(write_file_durably(directory.path() / "high-water", mark));
    const fs::path log = newest_log(directory.path());
    std::string bytes = must(read_file(log));
    std::fill(bytes.end() - static_cast<std::ptrdiff_t>(zeros), bytes.end(), '\0');
    must(write_file_durably(log, bytes));
    auto kv = must(open_at(directory.path()));
    EXPECT_EQ(must(kv->snapshot()->scan("k/", "", 0, false)).size(), 199u);
    must(kv->write({{key_of(200), "more"}}));
  }
}

TEST(RocksKv, damaged_end_of_the_log_that_was_acknowledged_is_not_cut) {
  TempDir directory;
  fill(*must(open_at(directory.path())), 20);
  const fs::path log = newest_log(directory.path());
  std::string bytes = must(read_file(log));
  std::fill(bytes.end() - 100, bytes.end(), '\0');
  must(write_file_durably(log, bytes));
  EXPECT_EQ(open_at(directory.path()).status().code(), Code::kCorrupt);
  EXPECT_EQ(must(read_file(log)), bytes);
}

TEST(RocksKv, second_daemon_is_told_that_the_lock_is_held) {
  TempDir directory;
  auto kv = must(open_at(directory.path()));
  std::string expected =
      "unavailable: data directory " + directory.path().string() + " is already used by another freshetd (lock held)";
  EXPECT_EQ(open_at(directory.path()).status().to_string(), expected);
}

// The lock as another process meets it: the child is the first daemon, the parent the second.
TEST(RocksKv, lock_of_another_process) {
  TempDir directory;
  int ready[2];
  int done[2];
  ASSERT_EQ(::pipe(ready), 0);
  ASSERT_EQ(::pipe(done), 0);
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::close(done[1]);
    auto kv = open_at(directory.path());
    char answer = kv.is_ok() ? 'y' : 'n';
    if (::write(ready[1], &answer, 1) != 1) ::_exit(1);
    char end = 0;
    if (::read(done[0], &end, 1) != 0) ::_exit(2);
    ::_exit(0);
  }
  ::close(ready[1]);
  char answer = 0;
  ASSERT_EQ(::read(ready[0], &answer, 1), 1);
  ASSERT_EQ(answer, 'y');
  Status status = open_at(directory.path()).status();
  ::close(done[1]);
  int how = 0;
  ASSERT_EQ(::waitpid(child, &how, 0), child);
  EXPECT_EQ(how, 0);
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_THAT(status.message(), testing::HasSubstr("is already used by another freshetd (lock held)"));
  for (int fd : {ready[0], done[0]}) ::close(fd);
  must(open_at(directory.path()).status());
}

TEST(RocksKv, file_in_place_of_the_directory) {
  TempDir directory;
  fs::path path = directory.path() / "data";
  std::ofstream(path) << "x";
  EXPECT_EQ(open_at(path).status().to_string(),
            "invalid_argument: data directory " + path.string() + " is not a directory");
}

TEST(RocksKv, directory_of_somebody_else) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become another user";
  TempDir directory;
  fs::permissions(directory.path(), fs::perms::owner_all | fs::perms::others_read | fs::perms::others_exec);
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (::setuid(65534) != 0) ::_exit(9);
    Status status = open_at(directory.path()).status();
    bool good = status.code() == Code::kPermissionDenied &&
                status.message() == "data directory " + directory.path().string() + " is not writable by this user";
    ::_exit(good ? 0 : 1);
  }
  int how = 0;
  ASSERT_EQ(::waitpid(child, &how, 0), child);
  EXPECT_EQ(how, 0);
}

TEST(RocksKv, ballast_is_made_once_and_only_where_there_is_room) {
  TempDir directory;
  constexpr uint64_t kSize = 1 << 20;
  {
    auto kv = must(open_at(directory.path(), kSize));
    struct stat info{};
    ASSERT_EQ(::stat((directory.path() / "ballast").c_str(), &info), 0);
    EXPECT_EQ(static_cast<uint64_t>(info.st_size), kSize);
    EXPECT_GE(static_cast<uint64_t>(info.st_blocks) * 512, kSize);
  }
  TempDir other;
  auto kv = must(open_at(other.path(), uint64_t{1} << 60));
  EXPECT_FALSE(fs::exists(other.path() / "ballast"));
}

Change write_of(const std::string& key) {
  Change change;
  change.writes.push_back({key, std::string(20'000, 'x')});
  return change;
}

// Commits until the disk refuses; returns how many were acknowledged.
int commit_until_full(Writer& store) {
  for (int i = 0; i < 1000; ++i) {
    Result<Committed> committed = store.commit(write_of(key_of(i)));
    if (committed.is_ok()) continue;
    EXPECT_EQ(committed.status().code(), Code::kResourceExhausted) << committed.status().to_string();
    return i;
  }
  ADD_FAILURE() << "the disk never filled up";
  return 0;
}

TEST(FullDisk, writes_fail_reads_go_on_and_writes_return_with_the_space) {
  SmallDisk disk("size=96m");
  NEED_SMALL_DISK(disk);
  auto kv = must(open_at(disk.path(), 8 << 20));
  SystemClock clock;
  Writer store(*kv, clock);
  must(store.commit(write_of("before")));
  disk.fill_up();
  int stored = commit_until_full(store);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(store.commit(write_of("no")).status().code(), Code::kResourceExhausted);
  EXPECT_EQ(must(store.snapshot()->scan("k/")).size(), static_cast<size_t>(stored));
  EXPECT_TRUE(must(store.snapshot()->get("before")));
  EXPECT_TRUE(kv->is_failed());
  EXPECT_EQ(kv->recover().code(), Code::kResourceExhausted);
  disk.free_up();
  EXPECT_EQ(store.commit(write_of("no")).status().code(), Code::kResourceExhausted);
  must(kv->recover());
  must(store.commit(write_of("after")));
  EXPECT_FALSE(kv->is_failed());
  auto snapshot = store.snapshot();
  EXPECT_EQ(must(snapshot->get("no")), std::nullopt);
  EXPECT_TRUE(must(snapshot->get("after")));
  EXPECT_EQ(must(snapshot->scan("k/")).size(), static_cast<size_t>(stored));
  must(verify_audit(*snapshot));
}

TEST(FullDisk, recovers_without_a_write) {
  SmallDisk disk("size=96m");
  NEED_SMALL_DISK(disk);
  auto kv = must(open_at(disk.path(), 0));
  SystemClock clock;
  Writer store(*kv, clock);
  must(kv->recover());
  disk.fill_up();
  const int stored = commit_until_full(store);
  disk.free_up();
  must(kv->recover());
  EXPECT_FALSE(kv->is_failed());
  EXPECT_EQ(must(store.snapshot()->scan("k/")).size(), static_cast<size_t>(stored));
}

// Readers that come and go all the time notice nothing of a recovery.
TEST(FullDisk, reads_go_on_while_it_recovers) {
  SmallDisk disk("size=96m");
  NEED_SMALL_DISK(disk);
  auto kv = must(open_at(disk.path(), 0));
  SystemClock clock;
  Writer store(*kv, clock);
  must(store.commit(write_of("before")));
  std::atomic<bool> done = false;
  std::atomic<int> reads = 0;
  std::thread reader([&] {
    for (; !done; ++reads) EXPECT_TRUE(must(store.snapshot()->get("before")));
  });
  for (int round = 0; round < 3; ++round) {
    disk.fill_up();
    commit_until_full(store);
    disk.free_up();
    const int before = reads;
    must(kv->recover());
    while (reads <= before) std::this_thread::yield();
    must(store.commit(write_of("after")));
  }
  done = true;
  reader.join();
}

TEST(FullDisk, recovers_under_a_reader_and_tells_it_to_read_again) {
  SmallDisk disk("size=96m");
  NEED_SMALL_DISK(disk);
  auto kv = must(open_at(disk.path(), 0));
  SystemClock clock;
  Writer store(*kv, clock);
  must(store.commit(write_of("before")));
  auto reader = store.snapshot();
  disk.fill_up();
  commit_until_full(store);
  EXPECT_TRUE(must(reader->get("before")));
  disk.free_up();
  must(kv->recover());
  for (int i = 0; i < 100; ++i) must(store.commit(write_of("after" + std::to_string(i))));
  EXPECT_EQ(reader->get("before").status().code(), Code::kUnavailable);
  EXPECT_EQ(reader->scan("before").status().code(), Code::kUnavailable);
  EXPECT_TRUE(must(store.snapshot()->get("before")));
}

TEST(FullDisk, opens_by_giving_up_the_ballast) {
  SmallDisk disk("size=96m");
  NEED_SMALL_DISK(disk);
  {
    auto kv = must(open_at(disk.path(), 16 << 20));
    fill(*kv, 3000);
  }
  disk.fill_up();
  auto kv = must(open_at(disk.path(), 16 << 20));
  EXPECT_FALSE(fs::exists(disk.path() / "ballast"));
  EXPECT_EQ(must(kv->snapshot()->scan("k/", "", 0, false)).size(), 3000u);
  kv.reset();
  disk.free_up();
  kv = must(open_at(disk.path(), 16 << 20));
  EXPECT_TRUE(fs::exists(disk.path() / "ballast"));
}

TEST(FullDisk, without_ballast_opening_says_that_the_disk_is_full) {
  SmallDisk disk("size=32m");
  NEED_SMALL_DISK(disk);
  fill(*must(open_at(disk.path(), 0)), 3000);
  disk.fill_up();
  Status status = open_at(disk.path(), 0).status();
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_THAT(status.message(), testing::HasSubstr("the disk is full"));
}

}  // namespace
}  // namespace freshet
