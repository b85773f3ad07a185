#include "tests/power/disk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/file.h"
#include "tests/unit/base/temp_dir.h"

namespace freshet::power {
namespace {

// A log written by hand.
class Script {
 public:
  Script& add(OpKind kind, const std::string& path, const std::string& other = "", const std::string& data = "",
              uint64_t offset = 0, uint64_t number = 0) {
    OpHeader header;
    header.kind = kind;
    header.path_bytes = static_cast<uint32_t>(path.size());
    header.other_bytes = static_cast<uint32_t>(other.size());
    header.data_bytes = data.size();
    header.offset = offset;
    header.number = number;
    bytes_.append(reinterpret_cast<const char*>(&header), sizeof header);
    bytes_ += path + other + data;
    return *this;
  }
  Script& create(const std::string& path) { return add(OpKind::kCreateFile, path); }
  Script& write(const std::string& path, uint64_t at, const std::string& data) {
    return add(OpKind::kWrite, path, "", data, at);
  }
  Script& sync(const std::string& path) {
    ++syncs_;
    return add(OpKind::kSyncBegin, path, "", "", 0, syncs_).add(OpKind::kSyncEnd, path, "", "", 0, syncs_);
  }

  OpLog log() const {
    TempDir directory;
    CHECK(write_file_durably(directory / "log", bytes_).is_ok());
    auto log = OpLog::read(directory / "log");
    CHECK(log.is_ok());
    return std::move(*log);
  }

 private:
  std::string bytes_;
  uint64_t syncs_ = 0;
};

Tree strict(const OpLog& log, size_t cut) {
  SeededRandom random(1);
  return Disk(log, cut).after_cut(Model::kStrict, random);
}
Tree strict(const OpLog& log) { return strict(log, log.ops().size()); }

TEST(Strict, BytesNeedTheFilesSyncAndNamesTheDirectorys) {
  EXPECT_TRUE(strict(Script().create("a").write("a", 0, "x").sync("a").log()).empty());
  EXPECT_EQ(strict(Script().create("a").write("a", 0, "x").sync("").log()), (Tree{{"a", ""}}));
  EXPECT_EQ(strict(Script().create("a").write("a", 0, "x").sync("a").sync("").log()), (Tree{{"a", "x"}}));
}

TEST(Strict, RenameIsLostWithoutTheDirectorysSync) {
  Script script;
  script.create("a").write("a", 0, "old").sync("a").sync("");
  script.create("b").write("b", 0, "new").sync("b").add(OpKind::kRename, "b", "a");
  EXPECT_EQ(strict(script.log()), (Tree{{"a", "old"}}));
  EXPECT_EQ(strict(script.sync("").log()), (Tree{{"a", "new"}}));
}

TEST(Strict, DirectoryIsLostWithAllThatIsInItWithoutItsParentsSync) {
  Script script;
  script.add(OpKind::kMakeDirectory, "d").create("d/a").write("d/a", 0, "x").sync("d/a").sync("d");
  EXPECT_TRUE(strict(script.log()).empty());
  EXPECT_EQ(strict(script.sync("").log()), (Tree{{"d", std::nullopt}, {"d/a", "x"}}));
}

TEST(Strict, SyncCoversWhatWasDoneBeforeItBegan) {
  Script script;
  script.create("a").sync("").write("a", 0, "one").add(OpKind::kSyncBegin, "a", "", "", 0, 9);
  script.write("a", 3, "two").add(OpKind::kSyncEnd, "a", "", "", 0, 9);
  const OpLog log = script.log();
  EXPECT_EQ(strict(log), (Tree{{"a", "one"}}));
  EXPECT_EQ(strict(log, log.ops().size() - 1), (Tree{{"a", ""}}));
}

// Two threads sync one directory; the one that saw less ends last.
TEST(Strict, ALateEndTakesNothingAwayFromAnotherSync) {
  Script script;
  script.create("a").add(OpKind::kSyncBegin, "", "", "", 0, 8);
  script.create("b").add(OpKind::kSyncBegin, "", "", "", 0, 9);
  script.add(OpKind::kSyncEnd, "", "", "", 0, 9).add(OpKind::kSyncEnd, "", "", "", 0, 8);
  EXPECT_EQ(strict(script.log()), (Tree{{"a", ""}, {"b", ""}}));
}

// Every name that was journaled in order, every append up to some sector; no other outcome, and each of them.
TEST(Ordered, NamesInOrderAndAppendsFromTheFront) {
  Script script;
  script.create("a").create("b").write("a", 0, std::string(512, '1') + std::string(512, '2') + "3");
  const OpLog log = script.log();
  std::set<std::string> names, contents;
  SeededRandom random(5);
  const Disk disk(log, log.ops().size());
  for (int i = 0; i < 500; ++i) {
    Tree tree = disk.after_cut(Model::kOrdered, random);
    std::string found;
    for (const auto& [path, content] : tree) found += path;
    names.insert(found);
    if (!tree.contains("a")) continue;
    std::string content = *tree["a"];
    content.erase(content.find_last_not_of('\0') + 1);
    contents.insert(content);
  }
  EXPECT_THAT(names, testing::ElementsAre("", "a", "ab"));
  EXPECT_THAT(contents, testing::ElementsAre("", std::string(512, '1'), std::string(512, '1') + std::string(512, '2'),
                                             std::string(512, '1') + std::string(512, '2') + "3"));
}

TEST(Ordered, OverwrittenSectorsSurviveInAnySubset) {
  Script script;
  script.create("a").write("a", 0, std::string(1024, 'o')).sync("a").sync("").write("a", 0, std::string(1024, 'n'));
  const OpLog log = script.log();
  std::set<std::string> found;
  SeededRandom random(5);
  const Disk disk(log, log.ops().size());
  for (int i = 0; i < 500; ++i) {
    const Tree tree = disk.after_cut(Model::kOrdered, random);
    found.insert({tree.at("a")->front(), tree.at("a")->back()});
  }
  EXPECT_THAT(found, testing::ElementsAre("nn", "no", "on", "oo"));
}

TEST(OpLog, HalfAnEntryIsRefused) {
  TempDir directory;
  ASSERT_TRUE(write_file_durably(directory / "log", "POLG....").is_ok());
  EXPECT_EQ(OpLog::read(directory / "log").status().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace freshet::power
