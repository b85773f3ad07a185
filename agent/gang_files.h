// The files of one gang on this node: their names, and reading and writing the small ones. Plain functions, blocking,
// any thread. The agent owns the directory; between start and exit the gang's supervisor writes in it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/process.h"
#include "base/status.h"
#include "proto/agent.pb.h"
#include "proto/attempt.pb.h"

namespace freshet::agent {

// A gang's directory is renamed to this and its id before it is removed.
constexpr const char* kGonePrefix = ".gone-";

struct GangFiles {
  explicit GangFiles(std::filesystem::path gang_dir) : dir(std::move(gang_dir)) {}

  std::filesystem::path dir;

  std::filesystem::path attempt() const { return dir / "attempt.pb"; }
  std::filesystem::path socket() const { return dir / "supervisor.sock"; }
  std::filesystem::path process() const { return dir / "supervisor.pid.json"; }
  std::filesystem::path lock() const { return dir / "supervisor.lock"; }
  std::filesystem::path supervisor_log() const { return dir / "supervisor.log"; }
  std::filesystem::path journal() const { return dir / "journal"; }
  std::filesystem::path ring() const { return dir / "metrics.ring"; }
  std::filesystem::path stdout_log() const { return dir / "stdout.log"; }
  std::filesystem::path stderr_log() const { return dir / "stderr.log"; }
  std::filesystem::path output() const { return dir / "output"; }
  // A command step's own working directory; its declared outputs appear below it.
  std::filesystem::path work() const { return dir / "work"; }
  std::filesystem::path temporary() const { return dir / "tmp"; }
  std::filesystem::path stop() const { return dir / "stop.pb"; }
  std::filesystem::path exit() const { return dir / "exit.pb"; }
};

// A whole message from a file. not_found when there is none.
Status read_message(const std::filesystem::path& path, google::protobuf::MessageLite* message);
Status write_message(const std::filesystem::path& path, const google::protobuf::MessageLite& message);

// pid files: a v1::Process as JSON. Reading gives nullopt when there is no file.
Status write_process(const std::filesystem::path& path, const ProcessId& process);
Result<std::optional<ProcessId>> read_process(const std::filesystem::path& path);

v1::Process to_proto(const ProcessId& process, uint32_t rank);

// "run 3f.. step train epoch 2", for log lines.
std::string describe(const v1::WorkRef& work, uint64_t epoch);
// One string per piece of work, equal exactly when the work is the same.
std::string work_key(const v1::WorkRef& work);

}  // namespace freshet::agent
