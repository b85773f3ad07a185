// LocalSourceHub: the SourceHub over the machine's directories and repositories. Each source has a watcher with a
// thread of its own; mirrors of repositories lie below a directory given to it. Any thread.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "daemon/sources/directory_watcher.h"
#include "daemon/sources/git_watcher.h"
#include "daemon/sources/source.h"

namespace freshet {

class LocalSourceHub final : public SourceHub {
 public:
  // `mirrors`: DATA_DIR/git.
  explicit LocalSourceHub(std::filesystem::path mirrors) : mirrors_(std::move(mirrors)) {}

  // Stopping a watcher waits for its thread: the time of one slice of a file, or of a request to a remote repository.
  void set_sources(const std::vector<v1::Source>& sources) override;
  SourceObservation observe(const std::string& project, const std::string& name) const override;
  Result<std::string> read_file(const std::string& project, const std::string& name, const std::string& commit,
                                const std::string& path) const override;
  Result<std::vector<std::string>> changed_paths(const std::string& project, const std::string& name,
                                                 const std::string& from, const std::string& to) const override;
  void set_wake(std::function<void()> wake) override { wake_ = std::move(wake); }

 private:
  struct Watched {
    std::string spec;  // serialised, to see whether it changed
    std::unique_ptr<DirectoryWatcher> directory;
    std::unique_ptr<GitWatcher> git;
    std::string problem;  // why it can't be watched at all
  };
  using Key = std::pair<std::string, std::string>;  // project, name

  std::shared_ptr<Watched> start(const v1::Source& source) const;
  std::shared_ptr<Watched> find(const std::string& project, const std::string& name) const;
  Result<std::shared_ptr<Watched>> find_git(const std::string& project, const std::string& name) const;

  const std::filesystem::path mirrors_;
  std::function<void()> wake_;  // set before the first watcher starts, then only read
  mutable std::mutex mutex_;    // guards the map; what it points to does not change
  std::map<Key, std::shared_ptr<Watched>> watched_;
};

}  // namespace freshet
