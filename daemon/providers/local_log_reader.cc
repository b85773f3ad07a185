#include "daemon/providers/local_log_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"

namespace freshet {
namespace {

constexpr size_t kChunkBytes = 1 << 20;

}  // namespace

Result<std::string> LocalLogReader::read(const std::string& gang_id, const std::string& stream, uint64_t offset) const {
  Fd file(::open((agent_dir_ / "gangs" / gang_id / (stream + ".log")).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) {
    const auto kept = agent_dir_ / "logs" / (gang_id + "." + stream + ".log");
    file = Fd(::open(kept.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.is_open()) return errno_status("open " + kept.string(), errno);
  }
  std::string text(kChunkBytes, '\0');
  ssize_t got = ::pread(file.get(), text.data(), text.size(), static_cast<off_t>(offset));
  if (got < 0) return errno_status("read log of gang " + gang_id, errno);
  text.resize(static_cast<size_t>(got));
  return text;
}

}  // namespace freshet
