// The contract of Kv, on both implementations.
#include "daemon/store/kv.h"

#include <map>

#include "base/random.h"
#include "daemon/store/memory_kv.h"
#include "daemon/store/rocks_kv.h"
#include "tests/unit/store/support.h"

namespace freshet {
namespace {

struct Holder {
  TempDir directory;
  std::unique_ptr<Kv> kv;
};

std::unique_ptr<Holder> make_memory() {
  auto holder = std::make_unique<Holder>();
  holder->kv = std::make_unique<MemoryKv>();
  return holder;
}

std::unique_ptr<Holder> make_rocks() {
  auto holder = std::make_unique<Holder>();
  holder->kv = must(RocksKv::open({.data_directory = holder->directory.path(), .ballast_bytes = 0}));
  return holder;
}

struct Kind {
  const char* name;
  std::unique_ptr<Holder> (*make)();
};

class KvContract : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override { holder_ = GetParam().make(); }
  Kv& kv() { return *holder_->kv; }
  void put(const std::string& key, const std::string& value) { must(kv().write({{key, value}})); }

  static std::string keys(const KvSnapshot& snapshot, std::string_view prefix, std::string_view after = {},
                          size_t limit = 0, bool reverse = false) {
    std::string text;
    for (const KvPair& pair : must(snapshot.scan(prefix, after, limit, reverse))) text += pair.key + " ";
    return text;
  }

 private:
  std::unique_ptr<Holder> holder_;
};

TEST_P(KvContract, gets_what_was_put) {
  put("a", "1");
  put("b", std::string("\0\xff", 2));
  auto snapshot = kv().snapshot();
  EXPECT_EQ(must(snapshot->get("a")), "1");
  EXPECT_EQ(must(snapshot->get("b")), std::string("\0\xff", 2));
  EXPECT_EQ(must(snapshot->get("c")), std::nullopt);
}

TEST_P(KvContract, snapshot_does_not_see_later_writes) {
  put("a", "1");
  put("gone", "1");
  auto before = kv().snapshot();
  must(kv().write({{"a", "2"}, {"b", "2"}, {"gone", std::nullopt}}));
  EXPECT_EQ(must(before->get("a")), "1");
  EXPECT_EQ(keys(*before, ""), "a gone ");
  auto after = kv().snapshot();
  EXPECT_EQ(must(after->get("a")), "2");
  EXPECT_EQ(keys(*after, ""), "a b ");
}

TEST_P(KvContract, batch_is_applied_in_order) {
  must(kv().write({{"a", "1"}, {"a", std::nullopt}, {"b", std::nullopt}, {"b", "2"}}));
  auto snapshot = kv().snapshot();
  EXPECT_EQ(must(snapshot->get("a")), std::nullopt);
  EXPECT_EQ(must(snapshot->get("b")), "2");
}

TEST_P(KvContract, scans_forward_and_back_with_bounds) {
  for (const char* key : {"p/1", "p/2", "p/3", "p", "q/1", "o/9", "p0"}) put(key, key);
  auto snapshot = kv().snapshot();
  EXPECT_EQ(keys(*snapshot, "p/"), "p/1 p/2 p/3 ");
  EXPECT_EQ(keys(*snapshot, "p/", "", 2), "p/1 p/2 ");
  EXPECT_EQ(keys(*snapshot, "p/", "p/1"), "p/2 p/3 ");
  EXPECT_EQ(keys(*snapshot, "p/", "p/15"), "p/2 p/3 ");
  EXPECT_EQ(keys(*snapshot, "p/", "p/3"), "");
  EXPECT_EQ(keys(*snapshot, "p/", "z"), "");
  EXPECT_EQ(keys(*snapshot, "p/", "a"), "p/1 p/2 p/3 ");
  EXPECT_EQ(keys(*snapshot, "p/", "", 0, true), "p/3 p/2 p/1 ");
  EXPECT_EQ(keys(*snapshot, "p/", "", 1, true), "p/3 ");
  EXPECT_EQ(keys(*snapshot, "p/", "p/3", 0, true), "p/2 p/1 ");
  EXPECT_EQ(keys(*snapshot, "p/", "p/1", 0, true), "");
  EXPECT_EQ(keys(*snapshot, "p/", "a", 0, true), "");
  EXPECT_EQ(keys(*snapshot, "p/", "z", 0, true), "p/3 p/2 p/1 ");
  EXPECT_EQ(keys(*snapshot, "", "", 0, true), "q/1 p0 p/3 p/2 p/1 p o/9 ");
}

TEST_P(KvContract, prefix_of_the_highest_bytes) {
  put("\xff\xff", "1");
  put("\xff\xfe", "2");
  auto snapshot = kv().snapshot();
  EXPECT_EQ(keys(*snapshot, "\xff\xff"), "\xff\xff ");
  EXPECT_EQ(keys(*snapshot, "\xff", "", 0, true), "\xff\xff \xff\xfe ");
}

// Random writes and reads against a plain map, with snapshots that live on.
TEST_P(KvContract, agrees_with_a_plain_map) {
  constexpr uint64_t kSeed = 20261;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  SeededRandom random(kSeed);
  std::map<std::string, std::string> model;
  std::vector<std::pair<std::unique_ptr<KvSnapshot>, std::map<std::string, std::string>>> views;
  for (int step = 0; step < 300; ++step) {
    std::vector<KvWrite> batch;
    for (uint64_t n = random.next() % 4 + 1; n > 0; --n) {
      std::string key = std::to_string(random.next() % 20);
      if (random.next() % 3 == 0) {
        batch.push_back({key, std::nullopt});
        model.erase(key);
      } else {
        batch.push_back({key, std::to_string(step)});
        model[key] = std::to_string(step);
      }
    }
    must(kv().write(batch));
    if (random.next() % 5 == 0) views.emplace_back(kv().snapshot(), model);
    if (views.size() > 4) views.erase(views.begin() + static_cast<std::ptrdiff_t>(random.next() % views.size()));
    for (const auto& [view, expected] : views) {
      std::map<std::string, std::string> found;
      for (KvPair& pair : must(view->scan("", "", 0, random.next() % 2 == 0))) found[pair.key] = pair.value;
      ASSERT_EQ(found, expected) << "step " << step;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, KvContract, testing::Values(Kind{"memory", make_memory}, Kind{"rocks", make_rocks}),
                         [](const auto& kind) { return std::string(kind.param.name); });

TEST(MemoryKv, forgets_versions_that_nobody_sees) {
  MemoryKv kv;
  for (int i = 0; i < 100; ++i) must(kv.write({{"a", std::to_string(i)}, {"b", "x"}}));
  EXPECT_EQ(kv.kept_versions(), 2u);
  {
    auto snapshot = kv.snapshot();
    for (int i = 0; i < 100; ++i) must(kv.write({{"a", std::to_string(i)}}));
    EXPECT_EQ(must(snapshot->get("a")), "99");
  }
  must(kv.write({{"a", std::nullopt}, {"b", std::nullopt}}));
  EXPECT_EQ(kv.kept_versions(), 0u);
}

TEST(MemoryKv, failing_write_changes_nothing) {
  MemoryKv kv;
  must(kv.write({{"a", "1"}}));
  kv.fail_writes(resource_exhausted("full"));
  EXPECT_EQ(kv.write({{"a", "2"}}).code(), Code::kResourceExhausted);
  EXPECT_EQ(must(kv.snapshot()->get("a")), "1");
  kv.fail_writes(Status::ok());
  must(kv.write({{"a", "3"}}));
  EXPECT_EQ(must(kv.snapshot()->get("a")), "3");
}

}  // namespace
}  // namespace freshet
