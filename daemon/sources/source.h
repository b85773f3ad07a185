// What control sees of the outside: the files that lie in watched directories and the commits of watched repositories.
// SourceHub watches in the background and is read as a snapshot; it decides nothing and stores nothing. The real one
// (local_source_hub.h) owns threads, the fake one (fake_source_hub.h) is set by a test. Any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/time.h"
#include "proto/pipeline.pb.h"

namespace freshet {

// A complete file of a directory source.
struct ObservedFile {
  std::string uri;  // relative to the source's URI: its name
  uint64_t size = 0;
  std::string sha256;
  Time changed;  // the file's ctime: a rename into the directory updates it
};

struct SourceObservation {
  bool known = false;  // false: the hub has no such source, or has not looked yet; nothing else is then meaningful
  bool degraded = false;
  std::string message;  // why it is degraded, and what is retried; else empty
  // Directory: all complete files now there, by name. While degraded these are the last known ones, so that a file is
  // absent says nothing then.
  std::vector<ObservedFile> files;
  // Names of files that are there and are still being written or digested: more is to come without another event, and
  // until then nothing is known of their content, so what is known by such a name is not gone.
  std::set<std::string> pending_files;
  // Git: the head of the branch; while degraded the last known one.
  std::string head_commit;
};

class SourceHub {
 public:
  virtual ~SourceHub() = default;

  // Replaces what is watched. A source that is unchanged keeps what is known of it.
  virtual void set_sources(const std::vector<v1::Source>& sources) = 0;
  // Never blocks on the outside.
  virtual SourceObservation observe(const std::string& project, const std::string& name) const = 0;

  // Git. kNotFound: no such source, commit or path; the message says which. These read what has been fetched.
  virtual Result<std::string> read_file(const std::string& project, const std::string& name, const std::string& commit,
                                        const std::string& path) const = 0;
  // The paths that differ between two commits, sorted; `from` empty: every path of `to`.
  virtual Result<std::vector<std::string>> changed_paths(const std::string& project, const std::string& name,
                                                         const std::string& from, const std::string& to) const = 0;

  // Called, from any thread and without a lock held, after an observation has changed; it must not block. Set once,
  // before set_sources().
  virtual void set_wake(std::function<void()> wake) = 0;
};

}  // namespace freshet
