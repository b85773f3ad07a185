// Backups: asks for an online backup and says how far it is. Behind an interface, since a backup is made of files that
// only the real daemon has. Any thread.
#pragma once

#include <string>

#include "base/status.h"
#include "proto/backup.pb.h"

namespace freshet::control {

class Backups {
 public:
  virtual ~Backups() = default;
  // Begins one and returns. kConflict: one is being made; kInvalidArgument: the directory can't take it.
  virtual Result<v1::BackupStatus> start(const v1::BackupRequest& request) = 0;
  virtual v1::BackupStatus status() const = 0;
};

}  // namespace freshet::control
