#include "base/unfinished_files.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "base/crash_point.h"
#include "base/file.h"
#include "tests/unit/base/temp_dir.h"

namespace freshet {
namespace {

TEST(UnfinishedFiles, AKilledWriteLeavesOneAndItIsRemoved) {
  TempDir dir;
  ASSERT_TRUE(write_file_durably(dir.path() / "kept", "old").is_ok());
  pid_t child = fork();
  if (child == 0) {
    set_crash_point_handler([](std::string_view name) {
      if (name == "file.write.before_rename") raise(SIGKILL);
    });
    Status ignored = write_file_durably(dir.path() / "kept", "new");
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  auto count = [&] { return std::distance(std::filesystem::directory_iterator(dir.path()), {}); };
  ASSERT_EQ(count(), 2);
  ASSERT_TRUE(write_file_durably(dir.path() / "mine.tmp-7", "").is_ok());
  EXPECT_TRUE(remove_unfinished_files(dir.path()).is_ok());
  EXPECT_EQ(count(), 2);
  EXPECT_EQ(read_file(dir.path() / "kept").value(), "old");
  EXPECT_TRUE(remove_unfinished_files(dir.path() / "none").is_ok());
}

}  // namespace
}  // namespace freshet
