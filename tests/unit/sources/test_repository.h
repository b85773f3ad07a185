// A Git repository that a test makes and commits to, through libgit2, so that no git program is needed.
#pragma once

#include <filesystem>
#include <map>
#include <string>

struct git_repository;

namespace freshet {

class TestRepository {
 public:
  explicit TestRepository(const std::filesystem::path& directory, bool bare = false);
  ~TestRepository();
  TestRepository(const TestRepository&) = delete;
  TestRepository& operator=(const TestRepository&) = delete;

  // Commits exactly these files on top of the branch (made when missing); returns the commit's id.
  std::string commit(const std::string& branch, const std::map<std::string, std::string>& files);

 private:
  git_repository* repository_ = nullptr;
};

}  // namespace freshet
