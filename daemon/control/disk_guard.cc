#include "daemon/control/disk_guard.h"

#include <string>

#include "base/log.h"

namespace freshet::control {
namespace {

constexpr Duration kLook = Duration::seconds(1);

std::string mebibytes(uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

}  // namespace

Status DiskGuard::admit(uint64_t bytes) const {
  const std::string remedy =
      "Free space on the file system of the data directory; nothing is lost, and new work is taken again by itself";
  if (disk_.is_failed()) {
    return resource_exhausted("the daemon's disk is full or failing, and its store can't write. " + remedy);
  }
  ASSIGN_OR_RETURN(uint64_t free, disk_.free_bytes());
  if (free >= reserve_bytes_ && free - reserve_bytes_ >= bytes) return Status::ok();
  const std::string wanted = bytes == 0 ? "" : mebibytes(bytes) + " more would use up the reserve: ";
  return resource_exhausted("the daemon's disk is almost full: " + wanted + mebibytes(free) + " are free, and " +
                            mebibytes(reserve_bytes_) + " are kept (disk_reserve_mb) for what runs. " + remedy);
}

Time DiskReconciler::reconcile(Time now) {
  // What it says is what admit() says below.
  if (disk_.is_failed()) (void)disk_.recover();
  const Status room = guard_.admit();
  if (room.is_ok() == has_room_) return now + kLook;
  has_room_ = room.is_ok();
  if (has_room_) {
    log_info("disk", "there is space again: new work is taken");
  } else {
    log_warning("disk", "new work is refused: " + room.message());
  }
  wake_();
  return now + kLook;
}

}  // namespace freshet::control
