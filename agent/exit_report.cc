#include "agent/exit_report.h"

#include <signal.h>
#include <sys/wait.h>

#include <charconv>
#include <vector>

#include "agent/text.h"
#include "base/process.h"

namespace freshet::agent {
namespace {

constexpr size_t kTailLines = 10;
constexpr size_t kTailBytes = 2000;
constexpr int kSignalBase = 128;  // mpirun and shells report death by signal N as exit code 128 + N

// The whole number behind `label` in the text.
std::optional<int> number_after(std::string_view text, std::string_view label) {
  size_t at = text.find(label);
  if (at == std::string_view::npos) return std::nullopt;
  at = text.find_first_not_of(" \t", at + label.size());
  if (at == std::string_view::npos) return std::nullopt;
  int value = 0;
  auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  return value;
}

bool is_rule(std::string_view line) {
  return line.size() >= 40 && line.find_first_not_of('-') == std::string_view::npos;
}

// How mpirun's notices about the end of a job begin, between two rules of dashes.
bool is_notice(std::string_view block) {
  for (std::string_view start : {"Primary job  terminated normally", "mpirun detected that one or more processes",
                                 "mpirun noticed that process", "MPI_ABORT was invoked on rank"}) {
    if (block.starts_with(start)) return true;
  }
  return false;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return lines;
}

std::string who(const ExitFacts& facts, const MpirunVerdict& verdict) {
  if (facts.ranks > 1 && WIFSIGNALED(facts.wait_status)) return "mpirun";
  if (facts.ranks <= 1) return "rank 0";
  return verdict.rank ? "rank " + std::to_string(*verdict.rank) : "a rank";
}

}  // namespace

std::string last_lines(std::string_view text, size_t lines, size_t bytes) {
  size_t end = text.find_last_not_of(" \t\r\n");
  if (end == std::string_view::npos) return {};
  text = text.substr(0, end + 1);
  size_t start = text.size();
  while (lines-- > 0 && start > 0) {
    size_t newline = text.rfind('\n', start - 1);
    start = newline == std::string_view::npos ? 0 : newline;
  }
  if (start < text.size() && text[start] == '\n') ++start;
  text = text.substr(start);
  return std::string(text.size() > bytes ? text.substr(text.size() - bytes) : text);
}

std::string without_mpirun_notices(std::string_view stderr_text) {
  const auto lines = split_lines(stderr_text);
  std::string kept;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (is_rule(lines[i]) && i + 1 < lines.size() && is_notice(lines[i + 1])) {
      size_t close = i + 1;
      while (close < lines.size() && !is_rule(lines[close])) ++close;
      i = close;
      continue;
    }
    kept += lines[i];
    kept += '\n';
  }
  return kept;
}

MpirunVerdict read_mpirun_verdict(std::string_view stderr_text) {
  MpirunVerdict verdict;
  if (size_t at = stderr_text.find("mpirun detected that one or more processes"); at != std::string_view::npos) {
    // "  Process name: [[10832,1],1]" and "  Exit code:    3"
    std::string_view notice = stderr_text.substr(at);
    if (size_t name = notice.find("Process name: [["); name != std::string_view::npos) {
      if (auto rank = number_after(notice.substr(name), "],"); rank && *rank >= 0) {
        verdict.rank = static_cast<uint32_t>(*rank);
      }
    }
    verdict.code = number_after(notice, "Exit code:");
  } else if (at = stderr_text.find("mpirun noticed that process rank "); at != std::string_view::npos) {
    // "mpirun noticed that process rank 1 with PID 0 on node vm exited on signal 11 (Segmentation fault)."
    std::string_view notice = stderr_text.substr(at);
    if (auto rank = number_after(notice, "process rank"); rank && *rank >= 0) {
      verdict.rank = static_cast<uint32_t>(*rank);
    }
    verdict.signal = number_after(notice, "exited on signal");
  } else if (at = stderr_text.find("MPI_ABORT was invoked on rank"); at != std::string_view::npos) {
    std::string_view notice = stderr_text.substr(at);
    if (auto rank = number_after(notice, "on rank"); rank && *rank >= 0) verdict.rank = static_cast<uint32_t>(*rank);
    verdict.code = number_after(notice, "with errorcode");
  }
  return verdict;
}

v1::ExitRecord classify_exit(const ExitFacts& facts) {
  v1::ExitRecord exit;
  MpirunVerdict verdict;
  if (facts.ranks > 1) verdict = read_mpirun_verdict(facts.stderr_text);
  if (WIFSIGNALED(facts.wait_status)) {
    exit.set_signal(WTERMSIG(facts.wait_status));
  } else if (facts.ranks > 1 && verdict.signal) {
    exit.set_signal(*verdict.signal);
  } else {
    exit.set_code(verdict.code.value_or(WEXITSTATUS(facts.wait_status)));
    if (exit.code() == 0) exit.set_code(WEXITSTATUS(facts.wait_status));
  }

  if (facts.stop_requested) {
    exit.set_cause(v1::ExitRecord::STOPPED);
    exit.set_message(facts.stop_reason.empty() ? "stopped by request" : "stopped: " + facts.stop_reason);
    return exit;
  }
  if (facts.interrupted) {
    exit.set_cause(v1::ExitRecord::LOST);
    exit.set_message("the gang's supervisor was told to end; the node may be shutting down");
    return exit;
  }
  if (facts.timed_out) {
    exit.set_cause(v1::ExitRecord::TIMED_OUT);
    exit.set_message("ran longer than its limit of " + std::to_string(facts.timeout_s) + " s");
    return exit;
  }
  exit.set_cause(exit.signal() != 0 ? v1::ExitRecord::SIGNALLED : v1::ExitRecord::EXITED);
  if (exit.cause() == v1::ExitRecord::EXITED && exit.code() == 0) {
    if (facts.output_error.empty()) return exit;
    // The program says that all is well, its outputs say otherwise; nobody may take this for a success.
    exit.set_code(1);
    exit.set_message("exited with code 0, but " + facts.output_error);
    return exit;
  }

  const bool was_killed = exit.signal() == SIGKILL || exit.code() == kSignalBase + SIGKILL;
  std::string what = who(facts, verdict);
  if (was_killed && facts.out_of_memory_kills.value_or(0) > 0) {
    exit.set_cause(v1::ExitRecord::OUT_OF_MEMORY);
    what += " was killed by the kernel: out of memory";
  } else if (exit.signal() != 0) {
    what += " was killed by " + signal_name(exit.signal());
    if (was_killed) what += ", cause unknown";
  } else {
    what += " exited with code " + std::to_string(exit.code());
  }
  if (!facts.failure.empty() && exit.cause() != v1::ExitRecord::OUT_OF_MEMORY) {
    exit.set_message(facts.failure);
    return exit;
  }
  std::string tail = last_lines(facts.ranks > 1 ? without_mpirun_notices(facts.stderr_text) : facts.stderr_text,
                                kTailLines, kTailBytes);
  exit.set_message(what + (tail.empty() ? " and printed nothing" : ": " + valid_utf8(tail)));
  return exit;
}

}  // namespace freshet::agent
