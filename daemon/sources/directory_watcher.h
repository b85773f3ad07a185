// DirectoryWatcher: what lies in one directory, kept current in the background by one thread of its own: inotify for
// speed, a scan at the start and every few seconds for certainty. A file counts once it is complete (renamed in, closed
// by its writer, or unchanged and not open for writing) and digested. It reads files and changes none.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/sha256.h"
#include "daemon/sources/source.h"

namespace freshet {

struct DirectoryWatcherOptions {
  std::filesystem::path directory;
  std::string glob = "*";
  Duration scan_every = Duration::seconds(5);
  // How long a file that a scan found must lie unchanged before it is taken to be complete.
  Duration settle = Duration::seconds(1);
  // How long until a directory or file that could not be read is looked at again.
  Duration retry = Duration::seconds(1);
};

class DirectoryWatcher {
 public:
  // `changed` is called from the watcher's thread, without a lock, after the observation has changed.
  DirectoryWatcher(DirectoryWatcherOptions options, std::function<void()> changed);
  // Stops within the time of reading one slice of a file.
  ~DirectoryWatcher();
  DirectoryWatcher(const DirectoryWatcher&) = delete;
  DirectoryWatcher& operator=(const DirectoryWatcher&) = delete;

  SourceObservation observe() const;

 private:
  // What changes when a file's content may have changed.
  struct Identity {
    uint64_t device = 0;
    uint64_t inode = 0;
    int64_t size = -1;
    int64_t modified_ns = 0;
    int64_t changed_ns = 0;
    bool operator==(const Identity&) const = default;
  };
  enum class Stage { kSettling, kQueued, kDigested };
  struct File {
    Identity identity;
    Stage stage = Stage::kSettling;
    Time unchanged_since;  // monotonic
    Time check_at;         // monotonic, while settling
    std::string error;     // why it could not be read, the last time
    std::optional<ObservedFile> observed;
  };
  // The file being digested, slice by slice between events.
  struct Digesting {
    std::string name;
    Fd fd;
    Identity identity;
    Sha256 hash;
  };
  using Files = std::map<std::string, File>;

  static Identity identity_of(const struct stat& info);
  static bool is_open_for_writing(const std::filesystem::path& path);

  void run();
  void arm();
  void scan();
  void read_events();
  void see(const std::string& name, bool complete);
  void forget(const std::string& name);
  void enqueue(const std::string& name, File& file);
  void settle();
  void digest_slice();
  void finish_digest();
  void fail_file(const std::string& name, const std::string& error);
  void publish();
  int timeout_ms() const;

  const DirectoryWatcherOptions options_;
  const std::function<void()> changed_;
  SystemClock clock_;

  // The thread's own.
  Fd inotify_;            // not open: the directory is not watched
  Identity watched_;      // the directory behind the path when it was armed
  bool scanned_ = false;  // at least once
  std::string problem_;   // why the directory can't be read
  std::string watch_problem_;
  Time arm_at_;  // monotonic
  Time scan_at_;
  Time published_at_;
  Files files_;
  std::set<std::string> settling_;
  std::deque<std::string> queue_;
  std::optional<Digesting> digesting_;
  std::vector<char> buffer_;
  bool files_changed_ = false;  // since the last publish

  mutable std::mutex mutex_;  // guards the observation
  SourceObservation observation_;

  Fd stop_;  // an eventfd: readable once the watcher must end
  std::thread thread_;
};

}  // namespace freshet
