// How a gang's ranks are started: the pure function from an attempt to a command line and environment. One rank is the
// program itself; more ranks are Open MPI's mpirun on this node. No IO, any thread.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "agent/command.h"
#include "proto/attempt.pb.h"

namespace freshet::agent {

struct LaunchConfig {
  std::filesystem::path gang_dir;
  std::filesystem::path worker;
  std::filesystem::path mpirun;
  std::filesystem::path socket;          // as the ranks name it
  std::filesystem::path shared_memory;   // a directory of the gang's own for the ranks' shared segments
  std::filesystem::path data_file;       // command steps: the DatasetVersion as JSON
  std::vector<std::string> environment;  // of this process, "NAME=value"
};

Command build_launch(const v1::AttemptSpec& attempt, const LaunchConfig& config);

}  // namespace freshet::agent
