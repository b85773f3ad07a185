// freshet-agent: `run` is the agent of a node, `supervise` the supervisor of one gang (started by the agent itself).
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <thread>

#include "agent/agent.h"
#include "agent/network.h"
#include "agent/supervisor.h"
#include "base/crash_point.h"
#include "base/log.h"

namespace {

namespace fs = std::filesystem;
using freshet::Status;

int report(const Status& status) {
  if (status.is_ok()) return 0;
  freshet::log_error("agent", status.to_string());
  return 1;
}

// Before any thread starts, so that all of them leave the two signals to sigwait.
sigset_t block_stop_signals() {
  sigset_t mask;
  ::sigemptyset(&mask);
  ::sigaddset(&mask, SIGTERM);
  ::sigaddset(&mask, SIGINT);
  ::sigprocmask(SIG_BLOCK, &mask, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  return mask;
}

Status run_agent(freshet::agent::AgentOptions options, freshet::agent::NetworkOptions network_options) {
  const sigset_t mask = block_stop_signals();
  freshet::SystemClock clock;
  freshet::SystemRandom random;
  auto network = freshet::agent::make_network(std::move(network_options));
  ASSIGN_OR_RETURN(auto agent, freshet::agent::Agent::open(std::move(options), *network, clock, random));
  std::thread thread([&agent] { agent->run(); });
  int signal = 0;
  ::sigwait(&mask, &signal);
  freshet::log_info("agent", "ending; gangs go on without it");
  agent->stop();
  thread.join();
  return Status::ok();
}

}  // namespace

int main(int argc, char** argv) {
  if (freshet::Status armed = freshet::arm_crash_points_from_environment(); !armed.is_ok()) {
    std::fprintf(stderr, "freshet-agent: %s\n", armed.message().c_str());
    return 2;
  }
  CLI::App app("The agent of a Freshet node: launches gangs, supervises them, and reports to freshetd.");
  app.set_version_flag("--version", FRESHET_VERSION);
  app.require_subcommand(1);

  freshet::agent::AgentOptions options;
  freshet::agent::NetworkOptions network;
  CLI::App* run = app.add_subcommand("run", "Serve this node until SIGTERM; gangs outlive it");
  auto* daemon = run->add_option("--daemon", network.daemon_url, "The daemon's address, http://HOST:PORT");
  auto* daemon_file = run->add_option("--daemon-file", network.daemon_file,
                                      "A file with the daemon's address, read for every connection");
  daemon->excludes(daemon_file);
  run->add_option("--token-file", network.token_file, "A file with the bearer token")->required();
  run->add_option("--dir", options.dir, "The agent's directory")->required();
  run->add_option("--name", options.node, "The node's name")->required();
  run->add_option("--slots", options.slots, "Ranks that may run here at a time")->required();
  run->add_option("--worker", options.program.worker, "The freshet-worker program")->required();
  run->add_option("--mpirun", options.program.mpirun, "Open MPI's mpirun")->required();
  fs::path products;
  run->add_option(
         "--products", products,
         "The table of freshet-tune by which the node's GPUs compute matrix products; without it they take the "
         "library's first proposals")
      ->check(CLI::ExistingFile);
  bool run_without_cgroup = false;
  run->add_flag("--no-cgroup", run_without_cgroup, "Hold gangs together by session, as on a machine without cgroup 2");

  freshet::agent::SupervisorOptions supervisor;
  CLI::App* supervise = app.add_subcommand("supervise", "Run the gang of a directory to its end (used by the agent)");
  supervise->add_option("--dir", supervisor.gang_dir, "The gang's directory")->required();
  supervise->add_option("--worker", supervisor.worker, "The freshet-worker program")->required();
  supervise->add_option("--mpirun", supervisor.mpirun, "Open MPI's mpirun")->required();
  supervise->add_option("--ready-fd", supervisor.ready_fd, "A descriptor that gets \"ok\" once the gang is supervised");
  bool supervise_without_cgroup = false;
  supervise->add_flag("--no-cgroup", supervise_without_cgroup, "As for run");

  CLI11_PARSE(app, argc, argv);
  try {
    if (run->parsed()) {
      if (daemon->count() + daemon_file->count() == 0) {
        return report(freshet::invalid_argument("--daemon or --daemon-file is required"));
      }
      // Paths go into other processes' command lines, which run in other directories.
      for (fs::path* path : {&options.dir, &options.program.worker, &options.program.mpirun, &network.token_file}) {
        *path = fs::absolute(*path);
      }
      // Supervisors inherit it, and their ranks.
      if (!products.empty()) ::setenv("FRESHET_PRODUCTS", fs::absolute(products).c_str(), 1);
      if (!network.daemon_file.empty()) network.daemon_file = fs::absolute(network.daemon_file);
      options.program.allow_cgroup = !run_without_cgroup;
      return report(run_agent(std::move(options), std::move(network)));
    }
    supervisor.allow_cgroup = !supervise_without_cgroup;
    supervisor.gang_dir = fs::absolute(supervisor.gang_dir);
    return report(freshet::agent::supervise(supervisor));
  } catch (const std::exception& error) {
    return report(freshet::internal(error.what()));
  }
}
