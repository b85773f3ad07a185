// One drawn edit of a store's audit log, made behind the store's back in its RocksDB, and the record that a check must
// name for it. Test code; one thread, and nobody else has the database open.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/status.h"
#include "proto/audit.pb.h"

namespace freshet::audit_edits {

struct Edit {
  std::string kind;
  std::string text;       // what was done
  uint64_t revision = 0;  // to be named
};

Result<Edit> make_edit(const std::filesystem::path& database, const std::vector<v1::AuditHead>& heads, Random& random);

}  // namespace freshet::audit_edits
