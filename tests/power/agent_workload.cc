// What an agent and its supervisors keep: the ledger of promises, and for each gang its spec, journal and exit record,
// and the output of a command. The agent starts again several times.
#include <fcntl.h>

#include "agent/artifact_dir.h"
#include "agent/epoch_ledger.h"
#include "agent/gang_files.h"
#include "agent/journal.h"
#include "base/file.h"
#include "base/sha256.h"
#include "tests/power/workload.h"

namespace freshet::power {
namespace {

namespace fs = std::filesystem;
using agent::EpochLedger;
using agent::GangFiles;
using agent::JournalReader;
using agent::JournalWriter;
using agent::read_message;
using agent::write_message;

constexpr uint64_t kStarts = 3;
constexpr uint64_t kGangs = 4;   // of one start
constexpr uint64_t kEpochs = 2;  // of one piece of work in one start

v1::WorkRef work_of(uint64_t number) {
  v1::WorkRef work;
  work.set_project("default");
  work.set_run_id("run-" + std::to_string(number));
  work.set_step("train");
  return work;
}

std::string gang_name(uint64_t work, uint64_t epoch) {
  return "gang-" + std::to_string(work) + "-" + std::to_string(epoch);
}

v1::AcceptedEpoch promise(uint64_t term, uint64_t work, uint64_t epoch) {
  v1::AcceptedEpoch accepted;
  accepted.set_term(term);
  *accepted.mutable_work() = work_of(work);
  accepted.set_epoch(epoch);
  accepted.set_gang_id(gang_name(work, epoch));
  return accepted;
}

v1::ExitRecord exit_of(const std::string& gang) {
  v1::ExitRecord exit;
  exit.set_cause(v1::ExitRecord::EXITED);
  exit.set_code(3);
  exit.set_message(payload_of(gang, 1, 900));
  return exit;
}

v1::JournalEntry entry_of(const std::string& gang, uint64_t sequence) {
  v1::JournalEntry entry;
  if (sequence == 5) {
    *entry.mutable_exit() = exit_of(gang);
  } else if (sequence == 3) {
    auto* series = entry.mutable_metrics();
    series->add_samples()->set_name(payload_of(gang, 3, 300));
  } else {
    entry.mutable_output()->set_name(payload_of(gang, sequence, 200 * sequence));
  }
  return entry;
}

bool is_entry(v1::JournalEntry entry, const std::string& gang) {
  const v1::JournalEntry expected = entry_of(gang, entry.sequence());
  entry.clear_sequence();
  entry.clear_time_us();
  return entry.SerializeAsString() == expected.SerializeAsString();
}

Status run_gang(const fs::path& root, const std::string& gang) {
  const GangFiles files(root / "agent/gangs" / gang);
  RETURN_IF_ERROR(make_directories(files.work() / "model"));
  v1::AttemptSpec attempt;
  attempt.set_gang_id(gang);
  attempt.set_output_dir(payload_of(gang, 0, 2000));
  RETURN_IF_ERROR(write_message(files.attempt(), attempt));
  acknowledge("spec " + gang);
  const SystemClock clock;
  ASSIGN_OR_RETURN(JournalWriter journal, JournalWriter::open(files.journal(), clock));
  for (uint64_t sequence = 1; sequence <= 5; ++sequence) {
    RETURN_IF_ERROR(journal.append(entry_of(gang, sequence)));
    if (sequence != 3) acknowledge("journal " + gang + " " + std::to_string(sequence));
  }
  RETURN_IF_ERROR(write_message(files.exit(), exit_of(gang)));
  acknowledge("exit " + gang);
  for (const char* name : {"model/weights", "report"}) {
    Fd fd(::open((files.work() / name).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    const std::string bytes = payload_of(gang + name, 0, 6000);
    RETURN_IF_ERROR(write_all(fd.get(), bytes.data(), bytes.size()));
  }
  ASSIGN_OR_RETURN(std::string digest, agent::seal_directory(files.work(), files.dir / "sealed", "files"));
  acknowledge("output " + gang + " " + digest);
  return Status::ok();
}

Status check_ledger(const fs::path& root, const std::vector<std::string>& acknowledged) {
  ASSIGN_OR_RETURN(auto ledger, EpochLedger::open(root / "agent/epochs"));
  for (const auto& words : acknowledged_as(acknowledged, "term")) {
    if (ledger->highest_term() < std::stoull(words[0])) return corrupt("lost: the promise of term " + words[0]);
  }
  const uint64_t term = ledger->highest_term();
  for (const auto& words : acknowledged_as(acknowledged, "promised")) {
    const uint64_t work = std::stoull(words[0]), epoch = std::stoull(words[1]);
    if (ledger->accept(promise(term, work, epoch - 1)).code() != Code::kConflict) {
      return corrupt("lost: the promise of epoch " + words[1] + " of run-" + words[0]);
    }
  }
  return ledger->accept_term(term + 1);
}

Status check_gang(const fs::path& dir) {
  const std::string gang = dir.filename().string();
  const GangFiles files(dir);
  for (JournalReader reader(files.journal());;) {
    ASSIGN_OR_RETURN(auto entry, reader.next());
    if (!entry) break;
    if (!is_entry(*entry, gang)) return corrupt("half an entry in the journal of " + gang);
  }
  v1::ExitRecord exit;
  Status status = read_message(files.exit(), &exit);
  if (status.is_ok() && exit.SerializeAsString() != exit_of(gang).SerializeAsString()) {
    return corrupt("half an exit record of " + gang);
  }
  return status.is_ok() || status.code() == Code::kNotFound ? Status::ok() : status;
}

class AgentWorkload final : public Workload {
 public:
  Status record(const fs::path& root, uint64_t) override {
    RETURN_IF_ERROR(make_directories(root / "agent/gangs"));
    uint64_t term = 0;
    for (uint64_t start = 0; start < kStarts; ++start) {
      ASSIGN_OR_RETURN(auto ledger, EpochLedger::open(root / "agent/epochs"));
      RETURN_IF_ERROR(ledger->accept_term(++term));
      acknowledge("term " + std::to_string(term));
      for (uint64_t work = start; work < start + kGangs; ++work) {
        for (uint64_t i = 0; i < kEpochs; ++i) {
          const uint64_t epoch = 1 + start * kEpochs + i;
          RETURN_IF_ERROR(ledger->accept(promise(term, work, epoch)));
          acknowledge("promised " + std::to_string(work) + " " + std::to_string(epoch));
          if (i == 0) RETURN_IF_ERROR(run_gang(root, gang_name(work, epoch)));
        }
      }
    }
    return Status::ok();
  }

  Status check(const fs::path& root, const std::vector<std::string>& acknowledged) override {
    RETURN_IF_ERROR(make_directories(root / "agent/gangs"));
    RETURN_IF_ERROR(check_ledger(root, acknowledged));
    const fs::path gangs = root / "agent/gangs";
    // As the next agent does: whoever left no exit gets one.
    for (const auto& gang : fs::directory_iterator(gangs)) {
      const GangFiles files(gang.path());
      const SystemClock clock;
      ASSIGN_OR_RETURN(JournalWriter journal, JournalWriter::open(files.journal(), clock));
      RETURN_IF_ERROR(check_gang(gang.path()));
    }
    for (const auto& words : acknowledged_as(acknowledged, "spec")) {
      v1::AttemptSpec attempt;
      RETURN_IF_ERROR(read_message(GangFiles(gangs / words[0]).attempt(), &attempt).with_context("lost"));
      if (attempt.output_dir() != payload_of(words[0], 0, 2000)) return corrupt("half a spec of " + words[0]);
    }
    for (const auto& words : acknowledged_as(acknowledged, "journal")) {
      ASSIGN_OR_RETURN(auto end, agent::journal_end(GangFiles(gangs / words[0]).journal()));
      if (end.last < std::stoull(words[1])) return corrupt("lost: entry " + words[1] + " of " + words[0]);
    }
    for (const auto& words : acknowledged_as(acknowledged, "exit")) {
      v1::ExitRecord exit;
      RETURN_IF_ERROR(read_message(GangFiles(gangs / words[0]).exit(), &exit).with_context("lost"));
    }
    for (const auto& words : acknowledged_as(acknowledged, "output")) {
      RETURN_IF_ERROR(agent::check_artifact(gangs / words[0] / "sealed", words[1], true).status().with_context("lost"));
    }
    return Status::ok();
  }
};

}  // namespace

std::unique_ptr<Workload> make_agent_workload() { return std::make_unique<AgentWorkload>(); }

}  // namespace freshet::power
