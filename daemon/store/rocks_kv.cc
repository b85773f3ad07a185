#include "daemon/store/rocks_kv.h"

#include <fcntl.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/listener.h>
#include <rocksdb/options.h>
#include <rocksdb/utilities/checkpoint.h>
#include <rocksdb/write_batch.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdarg>
#include <cstdio>
#include <set>
#include <shared_mutex>

#include "base/crash_point.h"
#include "base/file.h"
#include "base/log.h"
#include "daemon/store/log_tail.h"

namespace freshet {
namespace {

// Small enough that what recovery writes out, all buffers full, fits in the ballast.
constexpr size_t kWriteBufferBytes = 16 << 20;
constexpr int kWriteBuffers = 3;
constexpr std::chrono::milliseconds kReadersMax{1000};
constexpr uint64_t kReopenBytesMin = kWriteBuffers * kWriteBufferBytes;

// RocksDB's own info log would lie on the same disk and ends the process when that is full.
class LogForwarder final : public rocksdb::Logger {
 public:
  LogForwarder() : rocksdb::Logger(rocksdb::InfoLogLevel::WARN_LEVEL) {}
  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override { forward(LogLevel::kDebug, format, arguments); }
  void Logv(const rocksdb::InfoLogLevel level, const char* format, va_list arguments) override {
    if (level < rocksdb::InfoLogLevel::WARN_LEVEL || level == rocksdb::InfoLogLevel::HEADER_LEVEL) return;
    forward(level == rocksdb::InfoLogLevel::WARN_LEVEL ? LogLevel::kWarning : LogLevel::kError, format, arguments);
  }

 private:
  static void forward(LogLevel level, const char* format, va_list arguments) {
    char line[1024];
    std::vsnprintf(line, sizeof line, format, arguments);
    log(level, "rocksdb", line);
  }
};

// After a full disk RocksDB 7.8 resumes by itself, and then trips an assertion on the next write to its old log. So it
// may not; reopening is sound, and RocksKv does that.
class NoSelfRecovery final : public rocksdb::EventListener {
 public:
  explicit NoSelfRecovery(std::shared_ptr<std::atomic<bool>> failed) : failed_(std::move(failed)) {}
  void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status*) override { *failed_ = true; }
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status, bool* auto_recovery) override {
    *auto_recovery = false;
  }

 private:
  std::shared_ptr<std::atomic<bool>> failed_;
};

Status to_status(const rocksdb::Status& status, std::string_view what) {
  if (status.ok()) return Status::ok();
  std::string message = std::string(what) + ": " + status.ToString();
  if (status.IsNoSpace()) return resource_exhausted("the disk is full: " + message);
  if (status.IsCorruption()) return corrupt(message);
  return internal(message);
}

rocksdb::Slice slice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }

uint64_t free_bytes(const std::filesystem::path& directory) {
  struct statvfs info{};
  if (::statvfs(directory.c_str(), &info) != 0) return 0;
  return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
}

rocksdb::Options database_options(std::shared_ptr<std::atomic<bool>> failed) {
  rocksdb::Options options;
  options.info_log = std::make_shared<LogForwarder>();
  // The default drops what lies behind a flipped bit and says nothing.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.track_and_verify_wals_in_manifest = true;
  options.paranoid_checks = true;
  options.listeners.push_back(std::make_shared<NoSelfRecovery>(std::move(failed)));
  options.write_buffer_size = kWriteBufferBytes;
  options.max_write_buffer_number = kWriteBuffers;
  options.max_background_jobs = 2;
  options.max_open_files = 256;
  return options;
}

// Whether no database was ever completed there: the file CURRENT is the last that RocksDB makes of a new one. Without
// it RocksDB would begin anew and remove the files that it does not know.
Result<bool> is_new(const std::filesystem::path& directory) {
  std::error_code error;
  if (std::filesystem::exists(directory / "CURRENT", error)) return false;
  for (const auto& item : std::filesystem::directory_iterator(directory, error)) {
    const std::string extension = item.path().extension().string();
    if (extension != ".sst" && extension != ".log") continue;
    return corrupt("the store in " + directory.string() + " has records but its file CURRENT is missing. Nothing was " +
                   "changed: put the file back, or restore a backup with `freshet restore`");
  }
  if (error) return errno_status("list " + directory.string(), error.value());
  return true;
}

// Holds the database's LOCK while the files are looked at.
class DirectoryLock {
 public:
  explicit DirectoryLock(const std::filesystem::path& directory)
      : status_(rocksdb::Env::Default()->LockFile((directory / "LOCK").string(), &lock_)) {}
  ~DirectoryLock() {
    if (lock_ != nullptr) rocksdb::Env::Default()->UnlockFile(lock_);
  }
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;
  const rocksdb::Status& status() const { return status_; }

 private:
  rocksdb::FileLock* lock_ = nullptr;
  rocksdb::Status status_;
};

bool is_lock_error(const rocksdb::Status& status) {
  const std::string text = status.ToString();
  return status.IsIOError() && text.find("LOCK") != std::string::npos &&
         (text.find("lock hold by current process") != std::string::npos ||
          text.find("While lock file") != std::string::npos);
}

Status check_directory(const std::filesystem::path& directory) {
  std::string name = "data directory " + directory.string();
  Status made = make_directories(directory);
  struct stat info{};
  if (::stat(directory.c_str(), &info) != 0) {
    int error = errno;
    if (error == EACCES || error == EPERM) return permission_denied(name + " can't be reached: permission denied");
    return (made.is_ok() ? errno_status("stat", error) : made).with_context(name + " can't be made");
  }
  if (!S_ISDIR(info.st_mode)) return invalid_argument(name + " is not a directory");
  if (::access(directory.c_str(), R_OK | W_OK | X_OK) != 0) {
    int error = errno;
    if (error == EROFS) return permission_denied(name + " is on a read-only file system");
    if (error == EACCES) return permission_denied(name + " is not writable by this user");
    return errno_status(name, error);
  }
  return Status::ok();
}

}  // namespace

// One opening of the database. It can be closed under its readers, who then get kUnavailable.
class RocksKv::Database {
 public:
  Database(rocksdb::DB* db, std::shared_ptr<std::atomic<bool>> failed) : failed_(std::move(failed)), db_(db) {}
  ~Database() { close({}); }
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Null when closed.
  const rocksdb::Snapshot* take_snapshot() {
    std::unique_lock lock(mutex_);
    if (!db_) return nullptr;
    return *snapshots_.insert(db_->GetSnapshot()).first;
  }
  void release(const rocksdb::Snapshot* snapshot) {
    std::unique_lock lock(mutex_);
    if (snapshots_.erase(snapshot) == 0) return;
    db_->ReleaseSnapshot(snapshot);
    if (snapshots_.empty()) released_.notify_all();
  }
  // Waits for the readers, but not for long.
  void close(std::chrono::milliseconds patience) {
    std::unique_lock lock(mutex_);
    released_.wait_for(lock, patience, [this] { return snapshots_.empty(); });
    for (const rocksdb::Snapshot* snapshot : snapshots_) db_->ReleaseSnapshot(snapshot);
    snapshots_.clear();
    db_.reset();
  }
  // RocksDB could not write out what it holds, and refuses further writes.
  bool failed() const { return *failed_; }
  // Calls `use` with the database, which stays open as long as that runs.
  template <class Use>
  auto with(Use use) -> decltype(use(std::declval<rocksdb::DB&>())) {
    std::shared_lock lock(mutex_);
    if (!db_) return unavailable("the store was reopened after a failure of the disk; read again");
    return use(*db_);
  }

 private:
  const std::shared_ptr<std::atomic<bool>> failed_;
  std::shared_mutex mutex_;  // guards all below; exclusive to close
  std::unique_ptr<rocksdb::DB> db_;
  std::set<const rocksdb::Snapshot*> snapshots_;
  std::condition_variable_any released_;  // the last of them
};

class RocksKv::View final : public KvSnapshot {
 public:
  explicit View(std::shared_ptr<Database> database)
      : database_(std::move(database)), snapshot_(database_->take_snapshot()) {}
  ~View() override { database_->release(snapshot_); }

  Result<std::optional<std::string>> get(std::string_view key) const override {
    return database_->with([&](rocksdb::DB& db) -> Result<std::optional<std::string>> {
      std::string value;
      rocksdb::Status status = db.Get(read_options(), slice(key), &value);
      if (status.IsNotFound()) return std::optional<std::string>();
      RETURN_IF_ERROR(to_status(status, "reading " + std::string(key)));
      return std::optional<std::string>(std::move(value));
    });
  }

  Result<std::vector<KvPair>> scan(std::string_view prefix, std::string_view after, size_t limit,
                                   bool reverse) const override {
    std::string end = prefix_end(prefix);
    // Bounds: [low, high), high empty: none.
    std::string low(prefix);
    std::string high = end;
    if (!after.empty()) {
      if (reverse) {
        if (high.empty() || after < high) high = after;
      } else if (after >= low) {
        low = std::string(after) + '\0';
      }
    }
    if (!high.empty() && low >= high) return std::vector<KvPair>();
    rocksdb::Slice lower(low);
    rocksdb::Slice upper(high);
    rocksdb::ReadOptions options = read_options();
    options.iterate_lower_bound = &lower;
    if (!high.empty()) options.iterate_upper_bound = &upper;
    return database_->with([&](rocksdb::DB& db) -> Result<std::vector<KvPair>> {
      std::unique_ptr<rocksdb::Iterator> iterator(db.NewIterator(options));
      std::vector<KvPair> found;
      for (reverse ? iterator->SeekToLast() : iterator->Seek(lower); iterator->Valid();
           reverse ? iterator->Prev() : iterator->Next()) {
        found.push_back({iterator->key().ToString(), iterator->value().ToString()});
        if (limit != 0 && found.size() == limit) break;
      }
      RETURN_IF_ERROR(to_status(iterator->status(), "listing " + std::string(prefix)));
      return found;
    });
  }

 private:
  rocksdb::ReadOptions read_options() const {
    rocksdb::ReadOptions options;
    options.snapshot = snapshot_;
    return options;
  }

  std::shared_ptr<Database> database_;
  const rocksdb::Snapshot* snapshot_;
};

Result<std::unique_ptr<RocksKv>> RocksKv::open(RocksKvOptions options) {
  RETURN_IF_ERROR(check_directory(options.data_directory));
  std::unique_ptr<RocksKv> kv(new RocksKv(std::move(options)));
  // On a full disk what comes after opening needs space too: the first commits, the daemon's own small files.
  if (free_bytes(kv->options_.data_directory) < kReopenBytesMin && kv->drop_ballast()) {
    log_warning("store", "the disk is almost full: gave up the ballast to open the store");
  }
  ASSIGN_OR_RETURN(kv->database_, kv->open_database());
  kv->make_ballast();
  return kv;
}

Result<std::unique_ptr<RocksKv>> RocksKv::open_read_only(const std::filesystem::path& data_directory) {
  std::unique_ptr<RocksKv> kv(new RocksKv({.data_directory = data_directory, .ballast_bytes = 0}));
  ASSIGN_OR_RETURN(kv->database_, kv->open_for_reading());
  return kv;
}

RocksKv::~RocksKv() {
  if (database_) database_->close({});
  if (Status synced = high_water_.sync(); !synced.is_ok()) log_warning("store", synced.message());
}

// Nobody else has the directory, and it holds all that was ever acknowledged. Found out by an opening that changes
// nothing: opening for writes would remove the files that an older manifest does not know.
Status RocksKv::check_before_opening() {
  DirectoryLock lock(database_path());
  if (is_lock_error(lock.status())) {
    return unavailable("data directory " + options_.data_directory.string() +
                       " is already used by another freshetd (lock held)");
  }
  RETURN_IF_ERROR(to_status(lock.status(), "locking the store in " + database_path().string()));
  ASSIGN_OR_RETURN(high_water_, HighWater::open(options_.data_directory / "high-water"));
  ASSIGN_OR_RETURN(bool fresh, is_new(database_path()));
  if (fresh) return high_water_.check_sequence(database_path(), 0);
  RETURN_IF_ERROR(high_water_.check_manifest(database_path()));
  RETURN_IF_ERROR(cut_torn_tail(database_path(), high_water_.sequence()).status());
  ASSIGN_OR_RETURN(std::shared_ptr<Database> database, open_for_reading());
  return database->with(
      [&](rocksdb::DB& db) { return high_water_.check_sequence(database_path(), db.GetLatestSequenceNumber()); });
}

Result<std::shared_ptr<RocksKv::Database>> RocksKv::open_for_reading() const {
  auto failed = std::make_shared<std::atomic<bool>>(false);
  rocksdb::DB* db = nullptr;
  rocksdb::Status status = rocksdb::DB::OpenForReadOnly(database_options(failed), database_path().string(), &db);
  RETURN_IF_ERROR(to_status(status, "opening the store in " + database_path().string()));
  return std::make_shared<Database>(db, std::move(failed));
}

// Opens; when the disk is full, again without the ballast.
Result<std::shared_ptr<RocksKv::Database>> RocksKv::open_database() {
  RETURN_IF_ERROR(make_directories(database_path()));
  RETURN_IF_ERROR(check_before_opening());
  auto failed = std::make_shared<std::atomic<bool>>(false);
  rocksdb::Options options = database_options(failed);
  ASSIGN_OR_RETURN(options.create_if_missing, is_new(database_path()));
  CRASH_POINT("store.database.before_open");
  rocksdb::DB* db = nullptr;
  rocksdb::Status status = rocksdb::DB::Open(options, database_path().string(), &db);
  if (status.IsNoSpace() && drop_ballast()) {
    log_warning("store", "the disk is full: gave up the ballast to open " + database_path().string());
    status = rocksdb::DB::Open(options, database_path().string(), &db);
  }
  RETURN_IF_ERROR(to_status(status, "opening the store in " + database_path().string()));
  CRASH_POINT("store.database.after_open");
  high_water_.watch(database_path());
  high_water_.raise(db->GetLatestSequenceNumber());
  return std::make_shared<Database>(db, std::move(failed));
}

std::shared_ptr<RocksKv::Database> RocksKv::current() const {
  std::lock_guard lock(mutex_);
  return database_;
}

std::unique_ptr<KvSnapshot> RocksKv::snapshot() const {
  std::shared_lock lock(reopening_);
  return std::make_unique<View>(current());
}

void RocksKv::replace(std::shared_ptr<Database> database) {
  std::lock_guard lock(mutex_);
  database_ = std::move(database);
}

bool RocksKv::is_failed() const { return failed_ || current()->failed(); }

Status RocksKv::write(const std::vector<KvWrite>& batch) {
  std::lock_guard lock(write_mutex_);
  if (is_failed())
    return resource_exhausted("the disk is full or failing, and the store can't write until it recovers");
  rocksdb::WriteBatch writes;
  for (const KvWrite& write : batch) {
    rocksdb::Status status =
        write.value ? writes.Put(slice(write.key), slice(*write.value)) : writes.Delete(slice(write.key));
    RETURN_IF_ERROR(to_status(status, "collecting a batch"));
  }
  rocksdb::WriteOptions options;
  options.sync = true;
  Status status = current()->with([&](rocksdb::DB& db) {
    CRASH_POINT("store.batch.before_sync");
    RETURN_IF_ERROR(to_status(db.Write(options, &writes), "writing a batch"));
    CRASH_POINT("store.batch.after_sync");
    high_water_.raise(db.GetLatestSequenceNumber());
    return Status::ok();
  });
  if (!status.is_ok()) failed_ = true;
  return status;
}

Status RocksKv::recover() {
  std::lock_guard lock(write_mutex_);
  return is_failed() ? reopen() : Status::ok();
}

// After a failed write RocksDB refuses all others, so it is closed and opened again. Until there is space reads go on;
// also when opening fails after all.
Status RocksKv::reopen() {
  if (free_bytes(options_.data_directory) < kReopenBytesMin) {
    return resource_exhausted("the disk with " + options_.data_directory.string() + " is full: free at least " +
                              std::to_string(kReopenBytesMin >> 20) + " MiB");
  }
  failed_ = true;
  std::unique_lock lock(reopening_);
  current()->close(kReadersMax);
  Result<std::shared_ptr<Database>> opened = open_database();
  if (!opened.is_ok()) {
    if (auto reading = open_for_reading(); reading.is_ok()) replace(std::move(*reading));
    return opened.status();
  }
  replace(std::move(*opened));
  failed_ = false;
  make_ballast();
  log_info("store", "writes work again after a failure of the disk");
  return Status::ok();
}

Status RocksKv::checkpoint(const std::filesystem::path& directory) const {
  return current()->with([&](rocksdb::DB& db) -> Status {
    rocksdb::Checkpoint* made = nullptr;
    RETURN_IF_ERROR(to_status(rocksdb::Checkpoint::Create(&db, &made), "preparing a checkpoint"));
    std::unique_ptr<rocksdb::Checkpoint> checkpoint(made);
    return to_status(checkpoint->CreateCheckpoint(directory.string()), "a checkpoint in " + directory.string());
  });
}

void RocksKv::make_ballast() {
  std::filesystem::path path = ballast_path();
  uint64_t size = options_.ballast_bytes;
  std::error_code ignored;
  if (size == 0 || std::filesystem::exists(path, ignored)) return;
  if (free_bytes(options_.data_directory) / 4 < size) {
    log_warning("store", "too little free space for the ballast file " + path.string());
    return;
  }
  CRASH_POINT("store.ballast.before_write");
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  CRASH_POINT("store.ballast.during_write");
  int error = fd.is_open() ? ::posix_fallocate(fd.get(), 0, static_cast<off_t>(size)) : errno;
  if (error == 0) return;
  log_warning("store", errno_status("making the ballast file " + path.string(), error).message());
  ::unlink(path.c_str());
}

bool RocksKv::drop_ballast() { return ::unlink(ballast_path().c_str()) == 0; }

}  // namespace freshet
