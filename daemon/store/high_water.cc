#include "daemon/store/high_water.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <sstream>
#include <tuple>

#include "base/log.h"
#include "base/sha256.h"

namespace freshet {
namespace {

// Two slots, in sectors of their own and written in turn: of the last two marks one is whole whatever is torn.
constexpr size_t kSlotBytes = 512;
constexpr unsigned kRaisesPerSync = 1024;
constexpr std::string_view kManifestPrefix = "MANIFEST-";
constexpr const char* kNothingChanged =
    ". Nothing was changed: put the file back as it was, or restore a backup with `freshet restore`";

// The number of the manifest that CURRENT names; 0: none.
uint64_t current_manifest(const std::filesystem::path& database) {
  auto current = read_file(database / "CURRENT");
  uint64_t number = 0;
  if (!current.is_ok() || !current->starts_with(kManifestPrefix)) return 0;
  std::from_chars(current->data() + kManifestPrefix.size(), current->data() + current->size(), number);
  return number;
}

std::filesystem::path manifest_path(const std::filesystem::path& database, uint64_t number) {
  std::string digits = std::to_string(number);
  if (digits.size() < 6) digits.insert(0, 6 - digits.size(), '0');
  return database / (std::string(kManifestPrefix) + digits);
}

}  // namespace

// "v1 SEQUENCE MANIFEST BYTES DIGEST CHECK\n", then zeros.
std::string HighWater::slot_of(const Mark& mark) {
  std::ostringstream line;
  line << "v1 " << mark.sequence << ' ' << mark.manifest << ' ' << mark.manifest_bytes << ' '
       << (mark.manifest_digest.empty() ? "-" : mark.manifest_digest) << ' ';
  std::string bytes = line.str();
  bytes += Sha256::hex_of(bytes).substr(0, 16) + "\n";
  bytes.resize(kSlotBytes, '\0');
  return bytes;
}

// The empty mark for a slot that is not whole.
HighWater::Mark HighWater::read_slot(const std::string& bytes) {
  Mark mark;
  std::string version;
  std::istringstream line(bytes);
  line >> version >> mark.sequence >> mark.manifest >> mark.manifest_bytes >> mark.manifest_digest;
  if (mark.manifest_digest == "-") mark.manifest_digest.clear();
  return line && slot_of(mark) == bytes ? mark : Mark();
}

Result<HighWater> HighWater::open(const std::filesystem::path& path) {
  const std::string empty = slot_of({}) + slot_of({});
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) RETURN_IF_ERROR(write_file_durably(path, empty, 0600));
  ASSIGN_OR_RETURN(std::string bytes, read_file(path));
  HighWater high_water;
  for (size_t at = 0; at < bytes.size() && at < 2 * kSlotBytes; at += kSlotBytes) {
    Mark mark = read_slot(bytes.substr(at, kSlotBytes));
    auto rank = [](const Mark& one) { return std::tuple(one.sequence, one.manifest, one.manifest_bytes); };
    if (rank(mark) > rank(high_water.mark_)) high_water.mark_ = std::move(mark);
  }
  if (bytes != empty && high_water.mark_.sequence == 0) {
    log_warning("store", path.string() + " is damaged: whether the store has all its records can't be checked");
  }
  high_water.fd_ = Fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!high_water.fd_.is_open()) return errno_status("open " + path.string(), errno);
  return high_water;
}

Status HighWater::check_manifest(const std::filesystem::path& database) const {
  if (mark_.manifest == 0) return Status::ok();
  const uint64_t number = current_manifest(database);
  // A later one was begun by an opening that ended before it could be noted.
  if (number > mark_.manifest) return Status::ok();
  const std::filesystem::path path = manifest_path(database, mark_.manifest);
  if (number < mark_.manifest) {
    return corrupt("the store in " + database.string() + " names an older manifest than " + path.filename().string() +
                   ", its newest" + kNothingChanged);
  }
  auto bytes = read_file(path);
  if (bytes.is_ok() && bytes->size() >= mark_.manifest_bytes &&
      Sha256::hex_of(std::string_view(*bytes).substr(0, mark_.manifest_bytes)) == mark_.manifest_digest) {
    return Status::ok();
  }
  return corrupt("the store's file " + path.string() + " is damaged" + kNothingChanged);
}

Status HighWater::check_sequence(const std::filesystem::path& database, uint64_t sequence) const {
  if (sequence >= mark_.sequence) return Status::ok();
  return corrupt("the store in " + database.string() + " has lost its newest records: it ends at change " +
                 std::to_string(sequence) + " but had come to " + std::to_string(mark_.sequence) +
                 "; a log was cut, deleted or replaced by an older copy" + kNothingChanged);
}

void HighWater::watch(const std::filesystem::path& database) {
  mark_.manifest = current_manifest(database);
  mark_.manifest_bytes = 0;
  mark_.manifest_digest.clear();
  manifest_path_ = manifest_path(database, mark_.manifest);
  manifest_fd_ = Fd(::open(manifest_path_.c_str(), O_RDONLY | O_CLOEXEC));
}

// Only what is synced counts, and the manifest only grows.
void HighWater::cover_manifest() {
  struct stat info{};
  if (!manifest_fd_.is_open() || ::fstat(manifest_fd_.get(), &info) != 0) return;
  const auto size = static_cast<uint64_t>(info.st_size);
  if (size == mark_.manifest_bytes || ::fdatasync(manifest_fd_.get()) != 0) return;
  auto bytes = read_file(manifest_path_);
  if (!bytes.is_ok() || bytes->size() < size) return;
  mark_.manifest_digest = Sha256::hex_of(std::string_view(*bytes).substr(0, size));
  mark_.manifest_bytes = size;
}

void HighWater::raise(uint64_t sequence) {
  cover_manifest();
  mark_.sequence = sequence;
  const std::string bytes = slot_of(mark_);
  const off_t at = static_cast<off_t>((raised_++ % 2) * kSlotBytes);
  if (::pwrite(fd_.get(), bytes.data(), bytes.size(), at) < 0) return;
  if (raised_ % kRaisesPerSync == 0) (void)sync();
}

Status HighWater::sync() {
  if (fd_.is_open() && ::fdatasync(fd_.get()) != 0) return errno_status("fdatasync of the high-water file", errno);
  return Status::ok();
}

}  // namespace freshet
