// Why a gang ended: from what the supervisor saw to the ExitRecord that people and the retry policy read. Pure
// functions over plain values, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "proto/attempt.pb.h"

namespace freshet::agent {

struct ExitFacts {
  uint32_t ranks = 1;
  int wait_status = 0;  // of the launched process, as waitpid gives it
  bool timed_out = false;
  uint32_t timeout_s = 0;
  bool stop_requested = false;
  std::string stop_reason;
  bool interrupted = false;                     // the supervisor itself was told to end: nobody's wish for this attempt
  std::optional<uint64_t> out_of_memory_kills;  // nullopt: nobody counts
  std::string failure;                          // what a rank said before it ended
  std::string output_error;                     // an output that is missing or not what it was said to be
  std::string stderr_text;                      // the end of the standard error of all ranks and mpirun
};

v1::ExitRecord classify_exit(const ExitFacts& facts);

// What mpirun 4.1 says about the first rank that ended badly.
struct MpirunVerdict {
  std::optional<uint32_t> rank;
  std::optional<int> code;
  std::optional<int> signal;
};
MpirunVerdict read_mpirun_verdict(std::string_view stderr_text);

// The text without mpirun's own notices about how the job ended.
std::string without_mpirun_notices(std::string_view stderr_text);

// The last lines, at most `lines` of them and `bytes` in all, without blank lines at the end.
std::string last_lines(std::string_view text, size_t lines, size_t bytes);

}  // namespace freshet::agent
