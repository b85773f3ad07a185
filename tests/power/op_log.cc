#include "tests/power/op_log.h"

#include <cstring>

#include "base/file.h"

namespace freshet::power {

std::string describe(const Op& op) {
  switch (op.kind) {
    case OpKind::kCreateFile:
      return "create " + op.path;
    case OpKind::kMakeDirectory:
      return "mkdir " + op.path;
    case OpKind::kWrite:
      return "write " + op.path + " " + std::to_string(op.offset) + "+" + std::to_string(op.data.size());
    case OpKind::kResize:
      return "resize " + op.path + " to " + std::to_string(op.size);
    case OpKind::kRename:
      return "rename " + op.path + " to " + op.other;
    case OpKind::kLink:
      return "link " + op.path + " as " + op.other;
    case OpKind::kRemove:
      return "remove " + op.path;
    case OpKind::kSyncBegin:
      return "sync of /" + op.path + " begins";
    case OpKind::kSyncEnd:
      return "sync of /" + op.path + " ends";
    case OpKind::kMapShared:
      return "map " + op.path;
    case OpKind::kAcknowledge:
      return "acknowledge " + std::string(op.data.substr(0, op.data.find('\n')));
  }
  return "?";
}

Result<OpLog> OpLog::read(const std::filesystem::path& path) {
  OpLog log;
  ASSIGN_OR_RETURN(log.bytes_, read_file(path));
  const std::string_view bytes = log.bytes_;
  for (size_t at = 0; at < bytes.size();) {
    OpHeader header;
    if (bytes.size() - at < sizeof header) return corrupt(path.string() + " ends in half an entry");
    std::memcpy(&header, bytes.data() + at, sizeof header);
    at += sizeof header;
    const uint64_t rest = uint64_t{header.path_bytes} + header.other_bytes + header.data_bytes;
    if (header.magic != OpHeader::kMagic || bytes.size() - at < rest) {
      return corrupt(path.string() + " holds something else than entries");
    }
    Op op{header.kind, {}, {}, header.offset, header.size, header.number, header.data_only != 0, {}};
    op.path = bytes.substr(at, header.path_bytes);
    op.other = bytes.substr(at + header.path_bytes, header.other_bytes);
    op.data = bytes.substr(at + header.path_bytes + header.other_bytes, header.data_bytes);
    at += rest;
    log.ops_.push_back(std::move(op));
  }
  return log;
}

}  // namespace freshet::power
