#include "agent/journal.h"

#include "proto/frame.h"
#include "tests/unit/agent/support.h"

namespace freshet::agent {
namespace {

using ::testing::HasSubstr;

class JournalTest : public ::testing::Test {
 protected:
  static v1::JournalEntry milestone(const std::string& name) {
    v1::JournalEntry entry;
    entry.mutable_milestone()->set_name(name);
    return entry;
  }
  static v1::JournalEntry exit_entry() {
    v1::JournalEntry entry;
    entry.mutable_exit()->set_cause(v1::ExitRecord::EXITED);
    return entry;
  }
  void append_raw(const std::string& bytes) { std::ofstream(path_, std::ios::binary | std::ios::app) << bytes; }

  TempDir dir_;
  fs::path path_ = dir_.path() / "journal";
  SystemClock clock_;
};

TEST_F(JournalTest, NumbersAreDenseAcrossReopening) {
  {
    auto writer = must(JournalWriter::open(path_, clock_));
    must(writer.append(milestone("a")));
    must(writer.append(milestone("b")));
  }
  auto writer = must(JournalWriter::open(path_, clock_));
  EXPECT_EQ(writer.last(), 2u);
  EXPECT_FALSE(writer.has_exit());
  must(writer.append(exit_entry()));
  auto entries = read_journal(path_);
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].milestone().name(), "a");
  EXPECT_EQ(entries[2].sequence(), 3u);
  EXPECT_TRUE(must(JournalWriter::open(path_, clock_)).has_exit());
  EXPECT_EQ(must(journal_end(path_)).last, 3u);
  EXPECT_TRUE(must(journal_end(path_)).exit.has_value());
}

TEST_F(JournalTest, ATornTailOfAnyLengthIsCutAndTheNextEntryFollows) {
  {
    auto writer = must(JournalWriter::open(path_, clock_));
    must(writer.append(milestone("kept")));
  }
  const std::string whole = text_of(path_);
  v1::JournalEntry torn = milestone("torn");
  torn.set_sequence(2);
  const std::string frame = encode_frame(torn);
  for (size_t length = 1; length < frame.size(); ++length) {
    write_text(path_, whole + frame.substr(0, length));
    auto writer = must(JournalWriter::open(path_, clock_));
    EXPECT_EQ(writer.last(), 1u) << length;
    must(writer.append(milestone("next")));
    auto entries = read_journal(path_);
    ASSERT_EQ(entries.size(), 2u) << length;
    EXPECT_EQ(entries[1].milestone().name(), "next");
  }
}

TEST_F(JournalTest, ZerosAtTheEndAreATornTailToo) {
  {
    auto writer = must(JournalWriter::open(path_, clock_));
    must(writer.append(milestone("kept")));
  }
  append_raw(std::string(4096, '\0'));
  EXPECT_EQ(must(JournalWriter::open(path_, clock_)).last(), 1u);
}

TEST_F(JournalTest, AHoleInTheNumbersIsCorrupt) {
  v1::JournalEntry entry = milestone("second");
  entry.set_sequence(2);
  append_raw(encode_frame(entry));
  auto writer = JournalWriter::open(path_, clock_);
  EXPECT_EQ(writer.status().code(), Code::kCorrupt);
  EXPECT_THAT(writer.status().message(), HasSubstr("entry 2 follows entry 0"));
}

TEST_F(JournalTest, BytesThatAreNoEntryAreCorrupt) {
  append_raw(std::string("\x04\0\0\0", 4) + "\xff\xff\xff\xff");
  EXPECT_EQ(JournalWriter::open(path_, clock_).status().code(), Code::kCorrupt);
}

TEST_F(JournalTest, AReaderFollowsAFileThatGrows) {
  JournalReader reader(path_);
  EXPECT_FALSE(must(reader.next()).has_value());
  auto writer = must(JournalWriter::open(path_, clock_));
  must(writer.append(milestone("a")));
  EXPECT_EQ(must(reader.next())->milestone().name(), "a");
  EXPECT_FALSE(must(reader.next()).has_value());
  // Half an entry is none.
  v1::JournalEntry entry = milestone("b");
  entry.set_sequence(2);
  const std::string frame = encode_frame(entry);
  append_raw(frame.substr(0, 7));
  EXPECT_FALSE(must(reader.next()).has_value());
  append_raw(frame.substr(7));
  EXPECT_EQ(must(reader.next())->milestone().name(), "b");
  must(reader.sync());
  reader.rewind();
  EXPECT_EQ(must(reader.next())->milestone().name(), "a");
}

TEST_F(JournalTest, TruncatingDropsLaterEntriesAndTheirExit) {
  auto writer = must(JournalWriter::open(path_, clock_));
  for (const char* name : {"a", "b", "c"}) must(writer.append(milestone(name)));
  must(writer.append(exit_entry()));
  must(writer.truncate_after(1));
  EXPECT_EQ(writer.last(), 1u);
  EXPECT_FALSE(writer.has_exit());
  must(writer.append(exit_entry()));
  auto entries = read_journal(path_);
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_TRUE(entries[1].has_exit());
}

}  // namespace
}  // namespace freshet::agent
