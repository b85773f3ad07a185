// Damage to each kind of file of a store that was closed in order: cut, deleted, flipped, or put back older. Every
// record had been acknowledged, so the store either refuses, naming what is wrong and changing nothing, or has all of
// them. A damaged table may open; then reading it is refused, and no read answers short or with other bytes.
#include <algorithm>
#include <cstdio>
#include <functional>

#include "base/file.h"
#include "base/random.h"
#include "daemon/store/high_water.h"
#include "daemon/store/rocks_kv.h"
#include "tests/unit/store/support.h"

namespace freshet {
namespace {

namespace fs = std::filesystem;

constexpr int kRounds = 3;
constexpr int kRecordsPerRound = 40;
constexpr int kRecords = kRounds * kRecordsPerRound;

std::string key_of(int i) { return "k/" + std::to_string(1000 + i); }
std::string value_of(int i) { return "value " + std::to_string(i) + std::string(200, static_cast<char>('a' + i % 26)); }

// Each opening writes out what the log of the one before held, so there are tables, and the newest records are in the
// newest log alone.
void write_round(const fs::path& store, int round) {
  auto kv = must(RocksKv::open({.data_directory = store, .ballast_bytes = 0}));
  for (int i = round * kRecordsPerRound; i < (round + 1) * kRecordsPerRound; ++i) {
    must(kv->write({{key_of(i), value_of(i)}}));
  }
}

std::vector<fs::path> files_named(const fs::path& store, const std::string& part) {
  std::vector<fs::path> found;
  for (const auto& item : fs::directory_iterator(store / "db")) {
    const std::string name = item.path().filename().string();
    if (name.find(part) != std::string::npos && item.file_size() > 0) found.push_back(item.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

// "all": every record is there. "refused: ...": it does not open, or does not read. Anything else fails the test.
std::string outcome(const fs::path& store) {
  auto kv = RocksKv::open({.data_directory = store, .ballast_bytes = 0});
  if (!kv.is_ok()) return "refused: " + kv.status().to_string();
  auto pairs = (*kv)->snapshot()->scan("k/", "", 0, false);
  if (!pairs.is_ok()) return "refused when read: " + pairs.status().to_string();
  if (pairs->size() != kRecords) return "SHORT: " + std::to_string(pairs->size()) + " records";
  for (int i = 0; i < kRecords; ++i) {
    const KvPair& pair = (*pairs)[static_cast<size_t>(i)];
    if (pair.key != key_of(i) || pair.value != value_of(i)) return "WRONG: " + pair.key;
  }
  return "all";
}

// In memory where there is such a place: what is tested is damage, not syncing, and it is quicker by far.
fs::path quick_place() { return fs::exists("/dev/shm") ? fs::path("/dev/shm") : fs::temp_directory_path(); }

class Damage : public testing::Test {
 protected:
  void SetUp() override {
    for (int round = 0; round < kRounds; ++round) write_round(store(), round);
    original_ = directory_.path() / "original";
    fs::copy(store(), original_, fs::copy_options::recursive);
  }
  // Only the copy is opened again, so its files stay those of the last round.
  fs::path store() const { return directory_.path() / "store"; }

  // Damages a fresh copy; what was refused must open whole once the file is put back.
  void expect_refused_or_whole(const std::string& what, const fs::path& file,
                               const std::function<void(const fs::path&)>& damage) {
    fs::remove_all(store());
    fs::copy(original_, store(), fs::copy_options::recursive);
    damage(file);
    const std::string result = outcome(store());
    ++outcomes_[what + " -> " + result.substr(0, result.find(':'))];
    EXPECT_TRUE(result == "all" || result.starts_with("refused")) << what << " of " << file << ": " << result;
    if (result.starts_with("refused:")) {
      EXPECT_THAT(result, testing::HasSubstr((store() / "db").string()));
      fs::copy_file(original_ / "db" / file.filename(), file, fs::copy_options::overwrite_existing);
      EXPECT_EQ(outcome(store()), "all") << what << " of " << file << ", put back";
    }
  }

  void print_outcomes() const {
    for (const auto& [what, count] : outcomes_) std::printf("  %4d  %s\n", count, what.c_str());
  }

  TempDir directory_{quick_place()};
  fs::path original_;
  std::map<std::string, int> outcomes_;
};

TEST_F(Damage, of_any_file_is_refused_or_harmless) {
  SeededRandom random(7);
  int cases = 0;
  for (const char* kind : {".log", ".sst", "MANIFEST", "CURRENT"}) {
    const std::vector<fs::path> files = files_named(original_, kind);
    ASSERT_FALSE(files.empty()) << kind;
    for (const fs::path& source : files) {
      const uint64_t size = fs::file_size(source);
      const fs::path file = store() / "db" / source.filename();
      const std::string name = kind;
      expect_refused_or_whole(name + " deleted", file, [](const fs::path& path) { fs::remove(path); });
      for (uint64_t left : {uint64_t{0}, size / 2, size - std::min<uint64_t>(size, 50), size - 1}) {
        expect_refused_or_whole(name + " cut", file, [&](const fs::path& path) { fs::resize_file(path, left); });
      }
      const int flips = name == ".sst" ? 3 : 16;  // RocksDB waits for a second before it gives up on a damaged table
      for (int i = 0; i < flips; ++i) {
        expect_refused_or_whole(name + " flipped", file, [&](const fs::path& path) {
          std::string bytes = must(read_file(path));
          bytes[random.next() % size] ^= static_cast<char>(1u << (random.next() % 8));
          must(write_file_durably(path, bytes));
        });
      }
      cases += 5 + flips;
    }
  }
  std::printf("%d damages:\n", cases);
  print_outcomes();
}

TEST_F(Damage, older_manifest_put_back_is_refused) {
  TempDir other(quick_place());
  const fs::path store = other.path() / "store";
  write_round(store, 0);
  const fs::path older = other.path() / "older";
  fs::copy(store / "db", older);
  for (int round = 1; round < kRounds; ++round) write_round(store, round);
  ASSERT_EQ(outcome(store), "all");
  for (const fs::path& file : files_named(store, "MANIFEST")) fs::remove(file);
  for (const fs::path& file : files_named(store, ".log")) fs::remove(file);
  fs::copy(older, store / "db", fs::copy_options::overwrite_existing | fs::copy_options::recursive);
  const std::string result = outcome(store);
  EXPECT_THAT(result, testing::StartsWith("refused: corrupt"));
  EXPECT_THAT(result, testing::HasSubstr("names an older manifest than MANIFEST-"));
}

TEST_F(Damage, without_current_an_empty_store_is_not_made_over_the_old_one) {
  fs::remove(store() / "db" / "CURRENT");
  EXPECT_THAT(outcome(store()), testing::HasSubstr("its file CURRENT is missing"));
}

// The mark proves a loss; without it nothing is proven, and the store opens as it is.
TEST_F(Damage, of_the_high_water_file_loses_nothing) {
  const fs::path mark = store() / "high-water";
  const std::string bytes = must(read_file(mark));
  for (size_t at = 0; at < bytes.size(); at += 7) {
    std::string flipped = bytes;
    flipped[at] ^= 1;
    must(write_file_durably(mark, flipped));
    ASSERT_EQ(outcome(store()), "all") << "byte " << at;
  }
  for (size_t size : {size_t{0}, size_t{100}, size_t{600}}) {
    fs::resize_file(mark, size);
    ASSERT_EQ(outcome(store()), "all") << "cut to " << size;
  }
  fs::remove(mark);
  EXPECT_EQ(outcome(store()), "all");
}

// What only the sequence number shows: the newest log, cut where a record ends.
TEST_F(Damage, newest_log_cut_at_a_record_says_how_far_it_had_come) {
  const fs::path log = files_named(store(), ".log").back();
  fs::resize_file(log, fs::file_size(log) / 2);
  EXPECT_THAT(outcome(store()),
              testing::HasSubstr("has lost its newest records: it ends at change 100 but had come to 120"));
}

// Of two slots, written in turn, the older one holds when the newer is torn.
TEST(HighWater, torn_mark_falls_back_to_the_one_before) {
  TempDir directory;
  const fs::path path = directory.path() / "mark";
  {
    HighWater mark = must(HighWater::open(path));
    mark.raise(5);
    mark.raise(9);
    must(mark.sync());
  }
  EXPECT_EQ(must(HighWater::open(path)).check_sequence("db", 8).code(), Code::kCorrupt);
  must(must(HighWater::open(path)).check_sequence("db", 9));
  std::string bytes = must(read_file(path));
  bytes[512 + 3] = '8';
  must(write_file_durably(path, bytes));
  must(must(HighWater::open(path)).check_sequence("db", 5));
  EXPECT_EQ(must(HighWater::open(path)).check_sequence("db", 4).code(), Code::kCorrupt);
}

}  // namespace
}  // namespace freshet
