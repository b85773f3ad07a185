// FakeSourceHub: the outside as a test or the simulator sets it. Each setter takes effect at once and calls the wake
// function in the caller's thread. No threads, no files, no clock. One thread, or guarded by its own mutex.
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "daemon/sources/source.h"

namespace freshet {

class FakeSourceHub final : public SourceHub {
 public:
  using Files = std::map<std::string, std::string>;  // path -> content

  // ---- the test's side ----
  // A complete file appears in, or replaces one of, a directory.
  void add_file(const std::string& project, const std::string& name, ObservedFile file);
  void remove_file(const std::string& project, const std::string& name, const std::string& uri);
  // Whether it lies there still being written or looked at; apart from that it is as if it were not there.
  void set_pending(const std::string& project, const std::string& name, const std::string& uri, bool pending);
  // A commit appears and becomes the head.
  void add_commit(const std::string& project, const std::string& name, const std::string& commit, Files files);
  // Empty message: healthy again.
  void set_degraded(const std::string& project, const std::string& name, const std::string& message);

  // ---- SourceHub ----
  void set_sources(const std::vector<v1::Source>& sources) override;
  SourceObservation observe(const std::string& project, const std::string& name) const override;
  Result<std::string> read_file(const std::string& project, const std::string& name, const std::string& commit,
                                const std::string& path) const override;
  Result<std::vector<std::string>> changed_paths(const std::string& project, const std::string& name,
                                                 const std::string& from, const std::string& to) const override;
  void set_wake(std::function<void()> wake) override;

 private:
  using Key = std::pair<std::string, std::string>;  // project, name
  struct World {
    std::map<std::string, ObservedFile> files;
    std::set<std::string> pending;
    std::map<std::string, Files> commits;
    std::string head;
    std::string message;
  };

  void wake() const;
  Result<Files> find_commit(const std::string& project, const std::string& name, const std::string& commit) const;

  mutable std::mutex mutex_;  // guards all below
  std::map<Key, World> worlds_;
  std::set<Key> watched_;
  std::function<void()> wake_;
};

}  // namespace freshet
