// GitMirror: a bare copy of one branch of a repository, below the data directory, over libgit2. fetch() brings it up to
// date and is for one thread at a time; reading works from any thread, on what has been fetched. Commits once fetched
// stay. No credentials are used, and nothing of a repository is executed.
#pragma once

#include <atomic>
#include <filesystem>
#include <string>
#include <vector>

#include "base/status.h"

namespace freshet {

class GitMirror {
 public:
  // `directory` is made when the first fetch finds something. `uri`: what git can fetch, or an absolute path.
  GitMirror(std::filesystem::path directory, std::string uri, std::string branch);

  // The commit at the branch's head, now in the mirror. kNotFound: the repository or the branch is not there, the
  // message says which; kUnavailable: anything else that went wrong; kCancelled: `stop` became true.
  Result<std::string> fetch(const std::atomic<bool>& stop) const;
  // The head as of the last successful fetch, also of an earlier process; empty: none.
  std::string known_head() const;

  // As SourceHub describes them.
  Result<std::string> read_file(const std::string& commit, const std::string& path) const;
  Result<std::vector<std::string>> changed_paths(const std::string& from, const std::string& to) const;

  // Where the repository's own references lie when it is on this machine: to be watched for changes. Empty: it is not.
  std::vector<std::filesystem::path> reference_directories() const;

 private:
  std::filesystem::path directory_;
  std::string uri_;
  std::string branch_;
};

}  // namespace freshet
