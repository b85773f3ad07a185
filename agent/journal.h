// A gang's journal: what happened on the node, in order, as frames in one file. The writer (the supervisor, or the
// agent once the supervisor is dead) numbers entries densely from 1 and syncs all but metrics before append() returns.
// The reader follows a file that is still being written. A frame that was cut short by a crash at the end of the file
// is dropped when the journal is opened for writing. Each object: one thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "base/file.h"
#include "base/status.h"
#include "base/time.h"
#include "proto/attempt.pb.h"
#include "proto/frame.h"

namespace freshet::agent {

class JournalWriter {
 public:
  // Opens or creates. corrupt when a whole frame in it does not read back or its numbers are not dense.
  static Result<JournalWriter> open(const std::filesystem::path& path, const Clock& clock);

  // Sets sequence and time_us and writes the entry; on disk when it returns, except for metrics. After an error the
  // file may end in half a frame: nothing more can be written to it with this object.
  Status append(v1::JournalEntry entry);

  uint64_t last() const { return last_; }
  // Nothing may follow an exit entry.
  bool has_exit() const { return has_exit_; }

  // Cuts the file behind entry `sequence`.
  Status truncate_after(uint64_t sequence);

 private:
  JournalWriter(std::filesystem::path path, Fd fd, const Clock& clock)
      : path_(std::move(path)), fd_(std::move(fd)), clock_(&clock) {}
  Status scan(std::optional<uint64_t> stop_after);
  Status cut(uint64_t size);

  std::filesystem::path path_;
  Fd fd_;
  const Clock* clock_;
  uint64_t last_ = 0;
  bool has_exit_ = false;
  bool broken_ = false;
};

class JournalReader {
 public:
  explicit JournalReader(std::filesystem::path path) : path_(std::move(path)) {}

  // The next whole entry; nullopt when there is none yet (also while the file is not there).
  Result<std::optional<v1::JournalEntry>> next();
  // Starts again from the first entry.
  void rewind();
  // Waits until all that next() has returned is on disk.
  Status sync();

 private:
  std::filesystem::path path_;
  Fd fd_;
  FrameDecoder decoder_;
};

// The newest whole entry's number, and whether it is the exit.
struct JournalEnd {
  uint64_t last = 0;
  std::optional<v1::ExitRecord> exit;
};
Result<JournalEnd> journal_end(const std::filesystem::path& path);

}  // namespace freshet::agent
