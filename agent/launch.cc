#include "agent/launch.h"

#include <map>
#include <string_view>

#include "agent/containment.h"
#include "agent/gang_files.h"

namespace freshet::agent {
namespace {

// A scheduler's variables make mpirun choose that scheduler's launcher, those of an outer mpirun make it think that it
// is a rank, and ours would be another gang's. What arms crash points is for ranks, too, and the table of products is
// the node's.
bool is_removed(std::string_view name) {
  if (name.starts_with("FRESHET_CRASH_") || name == "FRESHET_PRODUCTS") return false;
  for (std::string_view prefix : {"SLURM_", "PMI_", "OMPI_", "PMIX_", "ORTE_", "PRTE_", "FRESHET_"}) {
    if (name.starts_with(prefix)) return true;
  }
  return false;
}

void set_mpi(std::map<std::string, std::string>* environment) {
  auto& variables = *environment;
  variables["OMPI_ALLOW_RUN_AS_ROOT"] = "1";
  variables["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1";
  // The in-memory table instead of shared-memory files for what ranks publish at start: 15 ms less of 80.
  variables["PMIX_MCA_gds"] = "hash";
}

void set_command(const v1::AttemptSpec& attempt, const LaunchConfig& config,
                 std::map<std::string, std::string>* environment) {
  auto& variables = *environment;
  for (const auto& variable : attempt.command().step().environment()) variables[variable.name()] = variable.value();
  for (const auto& variable : attempt.command().environment()) variables[variable.name()] = variable.value();
  std::string inputs;
  for (const auto& input : attempt.command().inputs()) inputs += (inputs.empty() ? "" : ":") + input.path();
  variables["FRESHET_INPUTS"] = inputs;
  variables["FRESHET_DATASET"] = config.data_file.string();
  variables["FRESHET_OUTPUT_DIR"] = GangFiles(config.gang_dir).work().string();
  variables["FRESHET_METRIC_RING"] = attempt.metric_ring();
  variables["FRESHET_SUPERVISOR"] = config.socket.string();
  variables["FRESHET_RUN_ID"] = attempt.work().run_id();
  variables["FRESHET_STEP"] = attempt.work().step();
  variables["FRESHET_EPOCH"] = std::to_string(attempt.epoch());
  variables["FRESHET_SEED"] = std::to_string(attempt.seed());
  if (attempt.threads_per_rank() > 0) variables["OMP_NUM_THREADS"] = std::to_string(attempt.threads_per_rank());
}

// clang-format off: one option and its value a line
std::vector<std::string> mpirun_argv(const v1::AttemptSpec& attempt, const LaunchConfig& config) {
  return {
      config.mpirun.string(), "-n", std::to_string(attempt.ranks()), "--oversubscribe", "--bind-to", "none",
      // Everything is on this node: no remote launcher is looked for, and nothing listens beyond loopback.
      "--mca", "plm", "isolated", "--mca", "oob_tcp_if_include", "lo",
      // Naming the transport saves 210 ms of start-up, in which Open MPI would look for network hardware.
      "--mca", "pml", "ob1", "--mca", "btl", "self,vader",
      // What Open MPI keeps on disk lies where it goes away with the gang, also when everything is killed at once.
      "--mca", "orte_tmpdir_base", GangFiles(config.gang_dir).temporary().string(),
      "--mca", "btl_vader_backing_directory", config.shared_memory.string()};
}
// clang-format on

}  // namespace

Command build_launch(const v1::AttemptSpec& attempt, const LaunchConfig& config) {
  std::map<std::string, std::string> environment;
  for (const auto& variable : config.environment) {
    size_t equals = variable.find('=');
    if (equals == std::string::npos || equals == 0) continue;
    if (!is_removed(variable.substr(0, equals))) environment[variable.substr(0, equals)] = variable.substr(equals + 1);
  }
  const GangFiles files(config.gang_dir);
  environment["TMPDIR"] = files.temporary().string();
  environment[kMarkerVariable] = attempt.gang_id();
  if (attempt.has_command()) set_command(attempt, config, &environment);

  Command command;
  command.working_directory = attempt.has_command() ? files.work() : files.dir;
  if (attempt.ranks() > 1) {
    set_mpi(&environment);
    command.argv = mpirun_argv(attempt, config);
  }
  if (attempt.has_command()) {
    const auto& argv = attempt.command().step().argv();
    command.argv.insert(command.argv.end(), argv.begin(), argv.end());
  } else {
    command.argv.insert(command.argv.end(), {config.worker.string(), "--supervisor", config.socket.string()});
  }
  for (const auto& [name, value] : environment) command.environment.push_back(name + "=" + value);
  return command;
}

}  // namespace freshet::agent
