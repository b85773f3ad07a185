#include "agent/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/crash_point.h"

namespace freshet::agent {

Result<JournalWriter> JournalWriter::open(const std::filesystem::path& path, const Clock& clock) {
  const bool is_new = !std::filesystem::exists(path);
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!fd.is_open()) return errno_status("open " + path.string(), errno);
  JournalWriter writer(path, std::move(fd), clock);
  RETURN_IF_ERROR(writer.scan(std::nullopt));
  CRASH_POINT("journal.file.before_directory_sync");
  if (is_new) RETURN_IF_ERROR(sync_directory(path.parent_path()));
  CRASH_POINT("journal.file.after_directory_sync");
  return writer;
}

Status JournalWriter::scan(std::optional<uint64_t> stop_after) {
  ASSIGN_OR_RETURN(std::string bytes, read_file(path_));
  FrameDecoder decoder;
  decoder.feed(bytes);
  last_ = 0;
  has_exit_ = false;
  v1::JournalEntry entry;
  while (!stop_after || last_ < *stop_after) {
    const size_t whole = bytes.size() - decoder.pending_bytes();
    auto more = decoder.next(&entry);
    if (more.is_ok() && !*more) break;
    if (!more.is_ok() || entry.sequence() != last_ + 1) {
      // A machine that loses power may leave zeros where the file was being extended: a torn tail as well.
      if (bytes.find_first_not_of('\0', whole) == std::string::npos) return cut(whole);
      if (!more.is_ok()) return more.status().with_context(path_.string());
      return corrupt(path_.string() + ": entry " + std::to_string(entry.sequence()) + " follows entry " +
                     std::to_string(last_));
    }
    last_ = entry.sequence();
    has_exit_ = entry.has_exit();
  }
  return decoder.pending_bytes() == 0 ? Status::ok() : cut(bytes.size() - decoder.pending_bytes());
}

Status JournalWriter::cut(uint64_t size) {
  if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) return errno_status("truncate " + path_.string(), errno);
  if (::fsync(fd_.get()) != 0) return errno_status("fsync " + path_.string(), errno);
  return Status::ok();
}

Status JournalWriter::append(v1::JournalEntry entry) {
  CHECK(!has_exit_);
  if (broken_) return corrupt(path_.string() + " could not be written before");
  entry.set_sequence(last_ + 1);
  entry.set_time_us(clock_->now().us);
  const std::string bytes = encode_frame(entry);
  CRASH_POINT("journal.entry.before_write");
  Status status = write_all(fd_.get(), bytes.data(), bytes.size()).with_context(path_.string());
  CRASH_POINT("journal.entry.before_sync");
  if (status.is_ok() && !entry.has_metrics() && ::fdatasync(fd_.get()) != 0) {
    status = errno_status("fsync " + path_.string(), errno);
  }
  if (!status.is_ok()) {
    broken_ = true;
    return status;
  }
  CRASH_POINT("journal.entry.after_sync");
  last_ = entry.sequence();
  has_exit_ = entry.has_exit();
  return status;
}

Status JournalWriter::truncate_after(uint64_t sequence) {
  CHECK(sequence <= last_);
  return scan(sequence);
}

Result<std::optional<v1::JournalEntry>> JournalReader::next() {
  if (!fd_.is_open()) {
    fd_ = Fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd_.is_open() && errno == ENOENT) return std::optional<v1::JournalEntry>();
    if (!fd_.is_open()) return errno_status("open " + path_.string(), errno);
  }
  v1::JournalEntry entry;
  for (;;) {
    auto more = decoder_.next(&entry);
    if (!more.is_ok()) return more.status().with_context(path_.string());
    if (*more) return std::optional<v1::JournalEntry>(std::move(entry));
    char buffer[1 << 16];
    ssize_t n = ::read(fd_.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status("read " + path_.string(), errno);
    if (n == 0) return std::optional<v1::JournalEntry>();
    decoder_.feed(std::string_view(buffer, static_cast<size_t>(n)));
  }
}

void JournalReader::rewind() {
  fd_.reset();
  decoder_ = FrameDecoder();
}

Status JournalReader::sync() {
  if (fd_.is_open() && ::fdatasync(fd_.get()) != 0) return errno_status("fsync " + path_.string(), errno);
  return Status::ok();
}

Result<JournalEnd> journal_end(const std::filesystem::path& path) {
  JournalReader reader(path);
  JournalEnd end;
  for (;;) {
    ASSIGN_OR_RETURN(auto entry, reader.next());
    if (!entry) return end;
    end.last = entry->sequence();
    if (entry->has_exit()) end.exit = entry->exit();
  }
}

}  // namespace freshet::agent
