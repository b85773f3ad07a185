// Disk: the room that the daemon's files have, and whether the store can write; behind an interface so that control can
// be told about a disk that is not there. local_disk.h is the one that is. Any thread.
#pragma once

#include <cstdint>

#include "base/status.h"

namespace freshet {

class Disk {
 public:
  virtual ~Disk() = default;
  // Of the file system among the daemon's that has the least.
  virtual Result<uint64_t> free_bytes() const = 0;
  // Whether writes to the store fail until recover().
  virtual bool is_failed() const = 0;
  // Makes them work again once there is space; ok also when nothing had failed.
  virtual Status recover() = 0;
};

}  // namespace freshet
