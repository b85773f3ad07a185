// The library that is put before a program with LD_PRELOAD to record what it does to the files below POWER_ROOT into
// POWER_LOG; what is written to POWER_ACKS becomes an acknowledgement in the same order. It stands in for the C
// library's functions and makes the system calls itself. An operation and its entry are made under one lock that all
// recorded processes share, so the log's order is the order in which they took effect. Only a sync runs outside it,
// between two entries: what others do meanwhile is not covered by it.
//
// Not seen: what the C library writes itself for a FILE*, and stores into a mapped file. The player compares the tree
// that the log gives with the real one, so an operation that was missed fails the recording.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "tests/power/op_log.h"

namespace {

using freshet::power::OpHeader;
using freshet::power::OpKind;

struct Shared {
  pthread_mutex_t mutex;
  uint64_t syncs;  // numbers given so far; guarded by mutex
};

struct Recorder {
  std::string root, log, acks;
  Shared* shared = nullptr;
};

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "power recorder: %s: %s\n", what, std::strerror(errno));
  std::_Exit(70);
}

int raw_open(const char* path, int flags, mode_t mode = 0) {
  return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

Shared* map_shared(const std::string& path) {
  const int fd = raw_open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || ::flock(fd, LOCK_EX) != 0) give_up("lock file");
  struct stat info{};
  if (::fstat(fd, &info) != 0) give_up("lock file");
  const bool is_first = info.st_size == 0;
  if (is_first && ::syscall(SYS_ftruncate, fd, sizeof(Shared)) != 0) give_up("lock file");
  auto address = ::syscall(SYS_mmap, nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (address == -1) give_up("lock file");
  auto* shared = reinterpret_cast<Shared*>(address);
  if (is_first) {
    pthread_mutexattr_t attributes;
    ::pthread_mutexattr_init(&attributes);
    ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    if (::pthread_mutex_init(&shared->mutex, &attributes) != 0) give_up("lock");
  }
  if (::flock(fd, LOCK_UN) != 0) give_up("lock file");  // the mapping would keep it past the close
  ::syscall(SYS_close, fd);
  return shared;
}

// Null in a process that is not recorded. Made at the first call, which may come before any constructor.
Recorder* recorder() {
  static Recorder* const instance = []() -> Recorder* {
    if (std::getenv("POWER_ROOT") == nullptr) return nullptr;
    auto* made = new Recorder{variable("POWER_ROOT"), variable("POWER_LOG"), variable("POWER_ACKS"), nullptr};
    made->shared = map_shared(made->log + ".lock");
    return made;
  }();
  return instance;
}

class Lock {
 public:
  explicit Lock(Recorder& of) : shared_(*of.shared) {
    // A process that was killed while it held the lock leaves whole entries: each is one write.
    if (::pthread_mutex_lock(&shared_.mutex) == EOWNERDEAD) ::pthread_mutex_consistent(&shared_.mutex);
  }
  ~Lock() {
    const int error = errno;
    ::pthread_mutex_unlock(&shared_.mutex);
    errno = error;
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  uint64_t next_sync() { return ++shared_.syncs; }

 private:
  Shared& shared_;
};

// Opened anew each time: a program may close every descriptor that it does not know.
void append(const Recorder& to, OpHeader header, const std::string& path, const std::string& other = {},
            const void* data = nullptr, size_t data_bytes = 0) {
  const int error = errno;
  header.path_bytes = static_cast<uint32_t>(path.size());
  header.other_bytes = static_cast<uint32_t>(other.size());
  header.data_bytes = data_bytes;
  std::string entry(reinterpret_cast<const char*>(&header), sizeof header);
  entry += path;
  entry += other;
  entry.append(static_cast<const char*>(data), data_bytes);
  const int fd = raw_open(to.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) give_up("open the log");
  if (::syscall(SYS_write, fd, entry.data(), entry.size()) != static_cast<long>(entry.size())) give_up("write the log");
  ::syscall(SYS_close, fd);
  errno = error;
}

OpHeader header(OpKind kind, uint64_t offset = 0, uint64_t size = 0) {
  OpHeader made;
  made.kind = kind;
  made.offset = offset;
  made.size = size;
  return made;
}

std::string link_of(const char* link) {
  char target[4096];
  const auto n = ::syscall(SYS_readlink, link, target, sizeof target);
  return n <= 0 ? std::string() : std::string(target, static_cast<size_t>(n));
}

std::string path_of(int fd) {
  char link[48];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  return link_of(link);
}

// Absolute, without "." and "..".
std::string absolute(int directory, const char* path) {
  std::string whole = path;
  if (path[0] != '/') whole = (directory == AT_FDCWD ? link_of("/proc/self/cwd") : path_of(directory)) + "/" + path;
  std::vector<std::string> parts;
  for (size_t at = 0; at < whole.size();) {
    const size_t end = std::min(whole.find('/', at), whole.size());
    const std::string part = whole.substr(at, end - at);
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else if (!part.empty() && part != ".") {
      parts.push_back(part);
    }
    at = end + 1;
  }
  std::string clean;
  for (const std::string& part : parts) clean += "/" + part;
  return clean;
}

// The path below the root ("" for the root itself); false: not below it.
bool below_root(const Recorder& of, const std::string& path, std::string* relative) {
  if (!path.starts_with(of.root)) return false;
  if (path.size() == of.root.size()) {
    relative->clear();
    return true;
  }
  if (path[of.root.size()] != '/') return false;
  *relative = path.substr(of.root.size() + 1);
  return true;
}

// A regular file or directory below the root that still has a name.
bool recorded_fd(const Recorder& of, int fd, std::string* relative) {
  const std::string path = path_of(fd);
  return below_root(of, path, relative) && !path.ends_with(" (deleted)");
}

bool exists(const std::string& path) { return ::syscall(SYS_faccessat, AT_FDCWD, path.c_str(), F_OK) == 0; }

int open_recorded(int directory, const char* path, int flags, mode_t mode) {
  auto real = [&] { return static_cast<int>(::syscall(SYS_openat, directory, path, flags, mode)); };
  if ((flags & (O_CREAT | O_TRUNC)) == 0) return real();
  Recorder* to = recorder();
  if (to == nullptr) return real();
  const std::string whole = absolute(directory, path);
  std::string relative;
  if (!below_root(*to, whole, &relative)) return real();
  Lock lock(*to);
  const bool was_there = exists(whole);
  const int fd = real();
  if (fd < 0) return fd;
  if (!was_there) {
    append(*to, header(OpKind::kCreateFile), relative);
  } else if ((flags & O_TRUNC) != 0) {
    append(*to, header(OpKind::kResize), relative);
  }
  return fd;
}

uint64_t size_of(int fd) {
  struct stat info{};
  return ::fstat(fd, &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

// `offset` < 0: where the descriptor stands.
template <class Real>
ssize_t write_recorded(int fd, off64_t offset, Real real) {
  Recorder* to = recorder();
  if (to == nullptr) return real();
  const std::string path = path_of(fd);
  std::string relative;
  const bool is_ack = path == to->acks;
  if (!is_ack && !recorded_fd(*to, fd, &relative)) return real();
  Lock lock(*to);
  const auto flags = ::syscall(SYS_fcntl, fd, F_GETFL);
  uint64_t at = static_cast<uint64_t>(offset);
  if ((flags & O_APPEND) != 0) {
    at = size_of(fd);
  } else if (offset < 0) {
    at = static_cast<uint64_t>(::syscall(SYS_lseek, fd, 0, SEEK_CUR));
  }
  const ssize_t n = real();
  if (n <= 0) return n;
  // What was written is read back, so every way of writing is recorded alike.
  const int error = errno;
  char link[48];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const int reader = raw_open(link, O_RDONLY | O_CLOEXEC);
  std::string data(static_cast<size_t>(n), '\0');
  if (reader < 0 || ::syscall(SYS_pread64, reader, data.data(), data.size(), at) != n) give_up("read back");
  ::syscall(SYS_close, reader);
  append(*to, header(is_ack ? OpKind::kAcknowledge : OpKind::kWrite, at), relative, {}, data.data(), data.size());
  errno = error;
  return n;
}

template <class Real>
int resize_recorded(int fd, uint64_t size, bool grows_only, Real real) {
  Recorder* to = recorder();
  std::string relative;
  if (to == nullptr || !recorded_fd(*to, fd, &relative)) return real();
  Lock lock(*to);
  const int result = real();
  if (result == 0 && (!grows_only || size_of(fd) == size)) append(*to, header(OpKind::kResize, 0, size), relative);
  return result;
}

int sync_recorded(int fd, long call, bool data_only) {
  Recorder* to = recorder();
  std::string relative;
  if (to == nullptr || !recorded_fd(*to, fd, &relative)) return static_cast<int>(::syscall(call, fd));
  OpHeader entry = header(OpKind::kSyncBegin);
  entry.data_only = data_only ? 1 : 0;
  {
    Lock lock(*to);
    entry.number = lock.next_sync();
    append(*to, entry, relative);
  }
  const int result = static_cast<int>(::syscall(call, fd));
  if (result == 0) {
    Lock lock(*to);
    entry.kind = OpKind::kSyncEnd;
    append(*to, entry, relative);
  }
  return result;
}

int rename_recorded(int from_directory, const char* from, int to_directory, const char* to_name, unsigned flags) {
  auto real = [&] {
    return static_cast<int>(::syscall(SYS_renameat2, from_directory, from, to_directory, to_name, flags));
  };
  Recorder* to = recorder();
  if (to == nullptr) return real();
  std::string old_path, new_path;
  const bool from_below = below_root(*to, absolute(from_directory, from), &old_path);
  const bool to_below = below_root(*to, absolute(to_directory, to_name), &new_path);
  if (!from_below && !to_below) return real();
  if (from_below != to_below) give_up("a rename across the root");
  Lock lock(*to);
  const int result = real();
  if (result == 0) append(*to, header(OpKind::kRename), old_path, new_path);
  return result;
}

int link_recorded(int from_directory, const char* from, int to_directory, const char* to_name, int flags) {
  auto real = [&] {
    return static_cast<int>(::syscall(SYS_linkat, from_directory, from, to_directory, to_name, flags));
  };
  Recorder* to = recorder();
  std::string old_path, new_path;
  if (to == nullptr || !below_root(*to, absolute(to_directory, to_name), &new_path)) return real();
  if (!below_root(*to, absolute(from_directory, from), &old_path)) give_up("a link across the root");
  Lock lock(*to);
  const int result = real();
  if (result == 0) append(*to, header(OpKind::kLink), old_path, new_path);
  return result;
}

template <class Real>
int name_recorded(OpKind kind, int directory, const char* path, Real real) {
  Recorder* to = recorder();
  std::string relative;
  if (to == nullptr || !below_root(*to, absolute(directory, path), &relative)) return real();
  Lock lock(*to);
  const int result = real();
  if (result == 0) append(*to, header(kind), relative);
  return result;
}

mode_t mode_of(int flags, va_list arguments) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

}  // namespace

#define POWER_OPEN(name)                               \
  int name(const char* path, int flags, ...) {         \
    va_list arguments;                                 \
    va_start(arguments, flags);                        \
    const mode_t mode = mode_of(flags, arguments);     \
    va_end(arguments);                                 \
    return open_recorded(AT_FDCWD, path, flags, mode); \
  }
#define POWER_OPENAT(name)                                    \
  int name(int directory, const char* path, int flags, ...) { \
    va_list arguments;                                        \
    va_start(arguments, flags);                               \
    const mode_t mode = mode_of(flags, arguments);            \
    va_end(arguments);                                        \
    return open_recorded(directory, path, flags, mode);       \
  }

extern "C" {

POWER_OPEN(open)
POWER_OPEN(open64)
POWER_OPENAT(openat)
POWER_OPENAT(openat64)
int __open_2(const char* path, int flags) { return open_recorded(AT_FDCWD, path, flags, 0); }
int __open64_2(const char* path, int flags) { return open_recorded(AT_FDCWD, path, flags, 0); }
int __openat_2(int directory, const char* path, int flags) { return open_recorded(directory, path, flags, 0); }
int __openat64_2(int directory, const char* path, int flags) { return open_recorded(directory, path, flags, 0); }
int creat(const char* path, mode_t mode) { return open_recorded(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char* path, mode_t mode) { return creat(path, mode); }

// A stream's file is made here, so that its name is known; the C library then opens what is there.
static FILE* fopen_recorded(const char* path, const char* mode, const char* real_name) {
  const int flags = mode[0] == 'w' ? O_WRONLY | O_CREAT | O_TRUNC : mode[0] == 'a' ? O_WRONLY | O_CREAT : 0;
  if (flags != 0) {
    const int fd = open_recorded(AT_FDCWD, path, flags, 0666);
    if (fd < 0) return nullptr;
    ::syscall(SYS_close, fd);
  }
  auto real = reinterpret_cast<FILE* (*)(const char*, const char*)>(::dlsym(RTLD_NEXT, real_name));
  return real(path, mode);
}
FILE* fopen(const char* path, const char* mode) { return fopen_recorded(path, mode, "fopen"); }
FILE* fopen64(const char* path, const char* mode) { return fopen_recorded(path, mode, "fopen64"); }

ssize_t write(int fd, const void* data, size_t size) {
  return write_recorded(fd, -1, [&] { return ::syscall(SYS_write, fd, data, size); });
}
ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  return write_recorded(fd, offset, [&] { return ::syscall(SYS_pwrite64, fd, data, size, offset); });
}
ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) { return pwrite(fd, data, size, offset); }
ssize_t writev(int fd, const iovec* parts, int count) {
  return write_recorded(fd, -1, [&] { return ::syscall(SYS_writev, fd, parts, count); });
}
ssize_t pwritev(int fd, const iovec* parts, int count, off_t offset) {
  return write_recorded(fd, offset, [&] { return ::syscall(SYS_pwritev, fd, parts, count, offset, 0); });
}
ssize_t pwritev64(int fd, const iovec* parts, int count, off64_t offset) { return pwritev(fd, parts, count, offset); }
ssize_t sendfile(int to, int from, off_t* offset, size_t count) {
  return write_recorded(to, -1, [&] { return ::syscall(SYS_sendfile, to, from, offset, count); });
}
ssize_t sendfile64(int to, int from, off64_t* offset, size_t count) { return sendfile(to, from, offset, count); }
ssize_t copy_file_range(int from, off64_t* from_offset, int to, off64_t* to_offset, size_t count, unsigned flags) {
  return write_recorded(to, to_offset == nullptr ? -1 : *to_offset,
                        [&] { return ::syscall(SYS_copy_file_range, from, from_offset, to, to_offset, count, flags); });
}

int ftruncate(int fd, off_t size) {
  return resize_recorded(fd, static_cast<uint64_t>(size), false,
                         [&] { return static_cast<int>(::syscall(SYS_ftruncate, fd, size)); });
}
int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }
int truncate(const char* path, off_t size) {
  const int fd = raw_open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  const int result = ftruncate(fd, size);
  ::syscall(SYS_close, fd);
  return result;
}
int truncate64(const char* path, off64_t size) { return truncate(path, size); }
// Space that is only set aside changes nothing that can be read, and is not: a file system in memory would fill it with
// zeros. A hole that is punched would change something.
int fallocate(int fd, int mode, off_t offset, off_t size) {
  if (mode == FALLOC_FL_KEEP_SIZE) return 0;
  if (mode != 0) {
    std::string relative;
    if (recorder() != nullptr && recorded_fd(*recorder(), fd, &relative)) give_up("fallocate with another mode");
  }
  return resize_recorded(fd, static_cast<uint64_t>(offset + size), true,
                         [&] { return static_cast<int>(::syscall(SYS_fallocate, fd, mode, offset, size)); });
}
int fallocate64(int fd, int mode, off64_t offset, off64_t size) { return fallocate(fd, mode, offset, size); }
int posix_fallocate(int fd, off_t offset, off_t size) { return fallocate(fd, 0, offset, size) == 0 ? 0 : errno; }
int posix_fallocate64(int fd, off64_t offset, off64_t size) { return posix_fallocate(fd, offset, size); }

int fsync(int fd) { return sync_recorded(fd, SYS_fsync, false); }
int fdatasync(int fd) { return sync_recorded(fd, SYS_fdatasync, true); }

int rename(const char* from, const char* to) noexcept { return rename_recorded(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_directory, const char* from, int to_directory, const char* to) noexcept {
  return rename_recorded(from_directory, from, to_directory, to, 0);
}
int renameat2(int from_directory, const char* from, int to_directory, const char* to, unsigned flags) noexcept {
  return rename_recorded(from_directory, from, to_directory, to, flags);
}
int link(const char* from, const char* to) noexcept { return link_recorded(AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int from_directory, const char* from, int to_directory, const char* to, int flags) noexcept {
  return link_recorded(from_directory, from, to_directory, to, flags);
}
int unlinkat(int directory, const char* path, int flags) noexcept {
  return name_recorded(OpKind::kRemove, directory, path,
                       [&] { return static_cast<int>(::syscall(SYS_unlinkat, directory, path, flags)); });
}
int unlink(const char* path) noexcept { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char* path) noexcept { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char* path) noexcept {
  const int result = unlink(path);
  return result != 0 && errno == EISDIR ? rmdir(path) : result;
}
int mkdirat(int directory, const char* path, mode_t mode) noexcept {
  return name_recorded(OpKind::kMakeDirectory, directory, path,
                       [&] { return static_cast<int>(::syscall(SYS_mkdirat, directory, path, mode)); });
}
int mkdir(const char* path, mode_t mode) noexcept { return mkdirat(AT_FDCWD, path, mode); }

void* mmap(void* address, size_t size, int protection, int flags, int fd, off_t offset) noexcept {
  if ((flags & MAP_SHARED) != 0 && (protection & PROT_WRITE) != 0 && fd >= 0) {
    Recorder* to = recorder();
    std::string relative;
    if (to != nullptr && recorded_fd(*to, fd, &relative)) {
      Lock lock(*to);
      append(*to, header(OpKind::kMapShared), relative);
    }
  }
  return reinterpret_cast<void*>(::syscall(SYS_mmap, address, size, protection, flags, fd, offset));
}
void* mmap64(void* address, size_t size, int protection, int flags, int fd, off64_t offset) noexcept {
  return mmap(address, size, protection, flags, fd, offset);
}

}  // extern "C"
