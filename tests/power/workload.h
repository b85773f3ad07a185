// A workload: real code that writes files and promises things, and the check of what a power cut has left of them.
// record() runs under the recorder in a process of its own; check() on the tree of one cut. What was promised travels
// as lines of words.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace freshet::power {

// Writes the line to POWER_ACKS, where the recorder finds it. Call it when something was promised, never before.
// Any thread.
void acknowledge(const std::string& line);

// The words of each line that begins with `what`, without it.
std::vector<std::vector<std::string>> acknowledged_as(const std::vector<std::string>& lines, std::string_view what);

// Bytes that are told apart: a pure function of its arguments.
std::string payload_of(std::string_view name, uint64_t number, size_t size);

class Workload {
 public:
  virtual ~Workload() = default;
  // Not done when it fails: then the recording is worth nothing.
  virtual Status record(const std::filesystem::path& root, uint64_t seed) = 0;
  // The status says what is lost or half there.
  virtual Status check(const std::filesystem::path& root, const std::vector<std::string>& acknowledged) = 0;
};

std::unique_ptr<Workload> make_store_workload();       // records, group commits, flushes, reopening
std::unique_ptr<Workload> make_artifact_workload();    // files, sealed artifacts, pins
std::unique_ptr<Workload> make_agent_workload();       // promises, journals, exit records, outputs of commands
std::unique_ptr<Workload> make_checkpoint_workload();  // what a worker writes at its end
std::unique_ptr<Workload> make_training_workload();    // a gang that saves itself beside training

}  // namespace freshet::power
