#include "base/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/sha256.h"
#include "tests/unit/base/temp_dir.h"

namespace freshet {
namespace {

using testing::HasSubstr;

std::vector<std::string> names_in(const std::filesystem::path& path) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path)) names.push_back(entry.path().filename());
  return names;
}

unsigned mode_of(const std::filesystem::path& path) {
  struct stat info{};
  EXPECT_EQ(::stat(path.c_str(), &info), 0);
  return info.st_mode & 07777U;
}

TEST(File, IsReplacedWholeAndLeavesNothingElse) {
  TempDir dir;
  ASSERT_TRUE(write_file_durably(dir / "a", std::string("one\0two", 7)).is_ok());
  EXPECT_EQ(*read_file(dir / "a"), std::string("one\0two", 7));
  ASSERT_TRUE(write_file_durably(dir / "a", "three").is_ok());
  EXPECT_EQ(*read_file(dir / "a"), "three");
  EXPECT_THAT(names_in(dir.path()), testing::ElementsAre("a"));
}

TEST(File, HasTheModeItWasGiven) {
  TempDir dir;
  ASSERT_TRUE(write_file_durably(dir / "secret", "x", 0600).is_ok());
  EXPECT_EQ(mode_of(dir / "secret"), 0600U);
  // Also where the file that it replaces was open to all.
  ASSERT_TRUE(write_file_durably(dir / "open", "x", 0644).is_ok());
  ASSERT_TRUE(write_file_durably(dir / "open", "y", 0600).is_ok());
  EXPECT_EQ(mode_of(dir / "open"), 0600U);
}

TEST(File, AReaderSeesTheOldOrTheNewContentNeverAPart) {
  TempDir dir;
  ASSERT_TRUE(write_file_durably(dir / "a", "old").is_ok());
  Fd old(::open((dir / "a").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(write_file_durably(dir / "a", "new").is_ok());
  char text[4] = {};
  EXPECT_EQ(::read(old.get(), text, 3), 3);
  EXPECT_STREQ(text, "old");
}

TEST(File, AFailedWriteSaysWhereAndLeavesNothing) {
  TempDir dir;
  Status missing = write_file_durably(dir / "none" / "a", "x");
  EXPECT_EQ(missing.code(), Code::kNotFound);
  EXPECT_THAT(missing.message(), HasSubstr("none/a"));
  // The target is a directory: the rename fails after the temporary file was written.
  ASSERT_TRUE(make_directories(dir / "target" / "inside").is_ok());
  EXPECT_FALSE(write_file_durably(dir / "target", "x").is_ok());
  EXPECT_THAT(names_in(dir.path()), testing::ElementsAre("target"));
}

TEST(File, AFullDiskIsResourceExhausted) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full on this machine";
  Fd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  EXPECT_EQ(write_all(full.get(), "x", 1).code(), Code::kResourceExhausted);
}

TEST(File, WhatIsNotThereIsNotFound) {
  TempDir dir;
  EXPECT_EQ(read_file(dir / "a").status().code(), Code::kNotFound);
  EXPECT_EQ(digest_file(dir / "a").status().code(), Code::kNotFound);
  EXPECT_EQ(sync_directory(dir / "a").code(), Code::kNotFound);
  EXPECT_FALSE(read_file(dir.path()).is_ok());  // a directory
}

TEST(File, DigestAndSizeAreThoseOfTheBytes) {
  TempDir dir;
  std::string bytes(600'000, 'q');  // more than one buffer
  ASSERT_TRUE(write_file_durably(dir / "a", bytes).is_ok());
  auto digest = digest_file(dir / "a");
  ASSERT_TRUE(digest.is_ok());
  EXPECT_EQ(digest->sha256, Sha256::hex_of(bytes));
  EXPECT_EQ(digest->size, bytes.size());
  ASSERT_TRUE(write_file_durably(dir / "empty", "").is_ok());
  EXPECT_EQ(digest_file(dir / "empty")->sha256, Sha256::hex_of(""));
  EXPECT_EQ(*read_file(dir / "empty"), "");
}

TEST(File, DirectoriesAreMadeOnce) {
  TempDir dir;
  EXPECT_TRUE(make_directories(dir / "a" / "b").is_ok());
  EXPECT_TRUE(make_directories(dir / "a" / "b").is_ok());
  EXPECT_TRUE(std::filesystem::is_directory(dir / "a" / "b"));
  ASSERT_TRUE(write_file_durably(dir / "file", "x").is_ok());
  EXPECT_FALSE(make_directories(dir / "file" / "b").is_ok());
}

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(Fd, ClosesWhatItOwns) {
  int raw = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  {
    Fd fd(raw);
    Fd moved = std::move(fd);
    EXPECT_FALSE(fd.is_open());  // NOLINT(bugprone-use-after-move): the moved-from state is the point
    EXPECT_EQ(moved.get(), raw);
    EXPECT_TRUE(is_open(raw));
  }
  EXPECT_FALSE(is_open(raw));
  int first = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  int second = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  Fd fd(first);
  fd = Fd(second);
  EXPECT_FALSE(is_open(first));
  EXPECT_EQ(fd.release(), second);
  EXPECT_FALSE(fd.is_open());
  EXPECT_TRUE(is_open(second));
  ::close(second);
}

}  // namespace
}  // namespace freshet
