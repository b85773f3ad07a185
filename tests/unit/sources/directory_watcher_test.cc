#include "daemon/sources/directory_watcher.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "tests/unit/sources/support.h"

namespace freshet {
namespace {

namespace fs = std::filesystem;

class Directory : public testing::Test {
 protected:
  DirectoryWatcherOptions options() const {
    DirectoryWatcherOptions options;
    options.directory = inbox_;
    options.settle = Duration::millis(30);
    options.retry = Duration::millis(20);
    options.scan_every = Duration::seconds(3600);  // so that events alone must do
    return options;
  }

  void SetUp() override { fs::create_directory(inbox_); }
  void start() { start(options()); }
  void start(DirectoryWatcherOptions options) {
    watcher_ = std::make_unique<DirectoryWatcher>(std::move(options), changes_.callback());
  }

  bool wait(const std::function<bool(const SourceObservation&)>& holds) {
    bool held = changes_.wait_until([&] { return holds(watcher_->observe()); });
    if (!held) ADD_FAILURE() << "never seen; now: " << names() << " " << watcher_->observe().message;
    return held;
  }
  // Until exactly these names are listed: "a.csv b.csv ".
  bool wait_names(const std::string& expected) {
    return wait([&](const SourceObservation& now) { return now.known && names() == expected; });
  }
  std::string names() const {
    std::string text;
    for (const ObservedFile& file : watcher_->observe().files) text += file.uri + " ";
    return text;
  }
  std::optional<ObservedFile> file(const std::string& name) const {
    for (const ObservedFile& found : watcher_->observe().files) {
      if (found.uri == name) return found;
    }
    return std::nullopt;
  }

  TempDir temporary_;
  fs::path inbox_ = temporary_.path() / "inbox";
  Changes changes_;
  std::unique_ptr<DirectoryWatcher> watcher_;
};

TEST_F(Directory, nothing_is_known_before_the_first_look) {
  DirectoryWatcherOptions slow = options();
  start(slow);
  wait([](const SourceObservation& now) { return now.known; });
  EXPECT_FALSE(watcher_->observe().degraded);
  EXPECT_TRUE(watcher_->observe().files.empty());
}

TEST_F(Directory, lists_what_lies_there_at_the_start) {
  land(inbox_, "b.csv", "two");
  land(inbox_, "a.csv", "one");
  write_file(inbox_ / "_SUCCESS", "");
  write_file(inbox_ / "c.csv.tmp", "");
  fs::create_directory(inbox_ / "folder");
  start();
  ASSERT_TRUE(wait_names("a.csv b.csv "));
  EXPECT_EQ(file("a.csv")->sha256, Sha256::hex_of("one"));
  EXPECT_EQ(file("b.csv")->size, 3u);
}

TEST_F(Directory, first_observation_is_complete) {
  DirectoryWatcherOptions calm = options();
  for (int i = 0; i < 200; ++i) land(inbox_, std::to_string(i) + ".csv", std::string(10'000, 'x'));
  calm.settle = Duration{};  // all of them count as old
  start(calm);
  wait([](const SourceObservation& now) { return now.known; });
  EXPECT_EQ(watcher_->observe().files.size(), 200u);
}

TEST_F(Directory, renamed_file_is_seen_at_once_with_the_time_of_its_rename) {
  start();
  wait([](const SourceObservation& now) { return now.known; });
  SystemClock clock;
  std::vector<double> latencies_ms;
  for (int i = 0; i < 25; ++i) {
    std::string name = std::to_string(100 + i) + ".csv";
    std::string bytes = std::string(100'000, 'x') + name;
    write_file(inbox_ / (name + ".tmp"), bytes);
    Time before = clock.now();
    fs::rename(inbox_ / (name + ".tmp"), inbox_ / name);
    ASSERT_TRUE(wait([&](const SourceObservation&) { return file(name).has_value(); }));
    latencies_ms.push_back((clock.now() - before).to_seconds() * 1e3);
    EXPECT_EQ(file(name)->sha256, Sha256::hex_of(bytes));
    // The kernel stamps files by its tick, which may lie some milliseconds behind the clock.
    EXPECT_GE(file(name)->changed + Duration::millis(20), before);
    EXPECT_LE(file(name)->changed, clock.now());
  }
  std::sort(latencies_ms.begin(), latencies_ms.end());
  std::cout << "rename to observation: median " << latencies_ms[12] << " ms, worst " << latencies_ms[24] << " ms\n";
  EXPECT_LT(latencies_ms[12], 20);
}

TEST_F(Directory, closed_file_is_seen_without_settling) {
  DirectoryWatcherOptions patient = options();
  patient.settle = Duration::seconds(3600);
  start(patient);
  wait([](const SourceObservation& now) { return now.known; });
  write_file(inbox_ / "a.csv", "one");
  ASSERT_TRUE(wait_names("a.csv "));
  write_file(inbox_ / "a.csv", "two");
  EXPECT_TRUE(wait([&](const SourceObservation&) { return file("a.csv")->sha256 == Sha256::hex_of("two"); }));
}

TEST_F(Directory, half_written_file_waits_for_its_writer) {
  Fd writer(::open((inbox_ / "half.csv").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  ASSERT_EQ(::write(writer.get(), "ha", 2), 2);
  start();
  // Other files come and go for many times the settling time; the half-written one never shows.
  SystemClock clock;
  Time end = clock.monotonic() + Duration::millis(300);
  for (int i = 0; clock.monotonic() < end; ++i) {
    std::string name = "other" + std::to_string(i);
    land(inbox_, name, "x");
    ASSERT_TRUE(wait([&](const SourceObservation&) { return file(name).has_value(); }));
    ASSERT_FALSE(file("half.csv"));
    ASSERT_EQ(watcher_->observe().pending_files, std::set<std::string>{"half.csv"});
  }
  ASSERT_EQ(::write(writer.get(), "lf", 2), 2);
  writer.reset();
  ASSERT_TRUE(wait([&](const SourceObservation&) { return file("half.csv").has_value(); }));
  EXPECT_EQ(file("half.csv")->sha256, Sha256::hex_of("half"));
  EXPECT_TRUE(watcher_->observe().pending_files.empty());
}

TEST_F(Directory, scan_finds_what_no_event_told) {
  DirectoryWatcherOptions eager = options();
  eager.scan_every = Duration::millis(20);
  land(inbox_, "a.csv", "one");
  start(eager);
  ASSERT_TRUE(wait_names("a.csv "));
  // A hard link from elsewhere writes into the file: the directory's watch hears nothing of it.
  fs::create_hard_link(inbox_ / "a.csv", temporary_.path() / "link");
  write_file(temporary_.path() / "link", "other");
  EXPECT_TRUE(wait([&](const SourceObservation&) { return file("a.csv")->sha256 == Sha256::hex_of("other"); }));
}

TEST_F(Directory, replaced_removed_and_moved_files) {
  start();
  wait([](const SourceObservation& now) { return now.known; });
  for (const char* name : {"a", "b", "c"}) land(inbox_, name, name);
  ASSERT_TRUE(wait_names("a b c "));
  land(inbox_, "a", "new");
  ASSERT_TRUE(wait([&](const SourceObservation&) { return file("a")->sha256 == Sha256::hex_of("new"); }));
  fs::remove(inbox_ / "b");
  ASSERT_TRUE(wait_names("a c "));
  fs::rename(inbox_ / "c", temporary_.path() / "c");
  ASSERT_TRUE(wait_names("a "));
  fs::rename(inbox_ / "a", inbox_ / "d");
  ASSERT_TRUE(wait_names("d "));
}

TEST_F(Directory, same_content_again_keeps_its_time) {
  start();
  land(inbox_, "a", "one");
  ASSERT_TRUE(wait_names("a "));
  Time changed = file("a")->changed;
  land(inbox_, "a", "one");
  land(inbox_, "b", "two");
  ASSERT_TRUE(wait_names("a b "));
  EXPECT_EQ(file("a")->changed, changed);
}

TEST_F(Directory, glob) {
  DirectoryWatcherOptions picky = options();
  picky.glob = "*.csv";
  start(picky);
  wait([](const SourceObservation& now) { return now.known; });
  land(inbox_, "a.parquet", "x");
  land(inbox_, "b.csv", "x");
  EXPECT_TRUE(wait_names("b.csv "));
}

TEST_F(Directory, missing_directory_is_degraded_and_recovers) {
  fs::remove(inbox_);
  start();
  ASSERT_TRUE(wait([](const SourceObservation& now) { return now.known; }));
  EXPECT_TRUE(watcher_->observe().degraded);
  EXPECT_EQ(watcher_->observe().message, "directory " + inbox_.string() + " does not exist; looking again every 20 ms");
  fs::create_directory(inbox_);
  ASSERT_TRUE(wait([](const SourceObservation& now) { return !now.degraded; }));
  land(inbox_, "a", "x");
  ASSERT_TRUE(wait_names("a "));
  EXPECT_EQ(watcher_->observe().message, "");
}

TEST_F(Directory, default_message_names_one_second) {
  DirectoryWatcherOptions defaults;
  defaults.directory = inbox_ / "none";
  start(defaults);
  ASSERT_TRUE(wait([](const SourceObservation& now) { return now.known; }));
  EXPECT_EQ(watcher_->observe().message,
            "directory " + (inbox_ / "none").string() + " does not exist; looking again every 1 s");
}

TEST_F(Directory, removed_directory_keeps_what_was_known_until_it_is_back) {
  land(inbox_, "a", "x");
  start();
  ASSERT_TRUE(wait_names("a "));
  fs::remove_all(inbox_);
  ASSERT_TRUE(wait([](const SourceObservation& now) { return now.degraded; }));
  fs::create_directory(inbox_);
  land(inbox_, "b", "y");
  ASSERT_TRUE(wait([&](const SourceObservation& now) { return !now.degraded && names() == "b "; }));
}

TEST_F(Directory, another_directory_under_the_same_name) {
  land(inbox_, "a", "x");
  start();
  ASSERT_TRUE(wait_names("a "));
  fs::rename(inbox_, temporary_.path() / "old");
  fs::create_directory(inbox_);
  land(inbox_, "b", "y");
  ASSERT_TRUE(wait([&](const SourceObservation& now) { return !now.degraded && names() == "b "; }));
  land(inbox_, "c", "z");
  EXPECT_TRUE(wait_names("b c "));
}

// A parent that is replaced is no event for the directory: the scan notices, and events of the new one count again.
TEST_F(Directory, another_directory_under_a_replaced_parent) {
  DirectoryWatcherOptions nested = options();
  nested.directory = inbox_ / "in";
  nested.scan_every = Duration::millis(20);
  nested.settle = Duration::seconds(3600);  // what only a scan finds is never complete
  fs::create_directory(nested.directory);
  start(nested);
  ASSERT_TRUE(wait([](const SourceObservation& now) { return now.known; }));
  land(nested.directory, "old", "x");
  ASSERT_TRUE(wait_names("old "));
  fs::rename(inbox_, temporary_.path() / "away");
  fs::create_directories(nested.directory);
  int landed = 0;
  ASSERT_TRUE(wait([&](const SourceObservation& now) {
    if (now.degraded || (!now.files.empty() && now.files[0].uri != "old")) return !now.degraded;
    land(nested.directory, "new" + std::to_string(landed++), "y");
    return false;
  }));
}

TEST_F(Directory, file_in_place_of_the_directory) {
  fs::remove(inbox_);
  write_file(inbox_, "x");
  start();
  ASSERT_TRUE(wait([](const SourceObservation& now) { return now.known; }));
  EXPECT_EQ(watcher_->observe().message, inbox_.string() + " is not a directory; looking again every 20 ms");
}

TEST_F(Directory, unreadable_file_is_named_and_tried_again) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become another user";
  fs::permissions(temporary_.path(), fs::perms::all);
  land(inbox_, "secret", "x");
  fs::permissions(inbox_ / "secret", fs::perms::owner_read);
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (::setuid(65534) != 0) ::_exit(9);
    start();
    bool named = changes_.wait_until([&] {
      SourceObservation now = watcher_->observe();
      return now.degraded && now.message == "file secret can't be read: Permission denied; trying again every 20 ms";
    });
    ::_exit(named ? 0 : 1);
  }
  int how = 0;
  ASSERT_EQ(::waitpid(child, &how, 0), child);
  EXPECT_EQ(how, 0);
}

}  // namespace
}  // namespace freshet
