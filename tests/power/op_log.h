// The log of file operations that recorder.cc writes and disk.h plays back: one entry for each operation that
// succeeded below the root, in the order in which they took effect, across threads and processes. Paths are relative
// to the root. Plain values; reading is for one thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace freshet::power {

enum class OpKind : uint32_t {
  kCreateFile = 1,
  kMakeDirectory,
  kWrite,      // data at offset
  kResize,     // to size
  kRename,     // path to other
  kLink,       // other is a second name of path
  kRemove,     // file or empty directory
  kSyncBegin,  // of a file or directory; what was done before is on disk at the end with the same number
  kSyncEnd,
  kMapShared,   // writable: what is written through it is not seen, and promised by nobody
  kAcknowledge  // data: a line that the workload wrote once something had been promised to somebody
};

// As it lies in the log; followed by path, other and data.
struct OpHeader {
  static constexpr uint32_t kMagic = 0x504f4c47;

  uint32_t magic = kMagic;
  OpKind kind{};
  uint32_t path_bytes = 0;
  uint32_t other_bytes = 0;
  uint64_t offset = 0;
  uint64_t size = 0;
  uint64_t number = 0;     // of a sync, unique in the log
  uint64_t data_only = 0;  // fdatasync
  uint64_t data_bytes = 0;
};

struct Op {
  OpKind kind{};
  std::string path;
  std::string other;
  uint64_t offset = 0;
  uint64_t size = 0;
  uint64_t number = 0;
  bool data_only = false;
  std::string_view data;  // points into the log
};

// "write epochs 120+34", for messages.
std::string describe(const Op& op);

class OpLog {
 public:
  // corrupt for anything but whole entries.
  static Result<OpLog> read(const std::filesystem::path& path);
  const std::vector<Op>& ops() const { return ops_; }

 private:
  std::string bytes_;
  std::vector<Op> ops_;
};

}  // namespace freshet::power
