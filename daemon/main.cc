// freshetd: the daemon's entry point. Reads the configuration, starts the App and waits for SIGTERM or SIGINT.
#include <csignal>
#include <cstdio>

#include <CLI/CLI.hpp>

#include "base/crash_point.h"
#include "base/file.h"
#include "base/log.h"
#include "base/version.h"
#include "daemon/app.h"
#include "daemon/config.h"
#include "daemon/offline.h"
#include "proto/json.h"
#include "proto/yaml.h"

namespace {

using freshet::v1::DaemonConfig;

freshet::LogLevel log_level(const std::string& name) {
  if (name == "debug") return freshet::LogLevel::kDebug;
  if (name == "warning") return freshet::LogLevel::kWarning;
  if (name == "error") return freshet::LogLevel::kError;
  return freshet::LogLevel::kInfo;
}

// The file's settings with the flags that were given laid over them.
freshet::Result<DaemonConfig> read_config(const std::string& file, const DaemonConfig& flags) {
  DaemonConfig config;
  if (!file.empty()) {
    ASSIGN_OR_RETURN(std::string text, freshet::read_file(file));
    ASSIGN_OR_RETURN(config, freshet::load_config(text, file));
  }
  config.MergeFrom(flags);
  RETURN_IF_ERROR(freshet::complete_config(&config));
  return config;
}

int print(const freshet::Result<std::string>& line) {
  if (line.is_ok()) {
    std::printf("%s\n", line->c_str());
    return 0;
  }
  std::fprintf(stderr, "freshetd: %s\n", line.status().message().c_str());
  return 1;
}

int run(const DaemonConfig& config) {
  // Signals are taken by sigwait below, in this thread; all others inherit the block.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  freshet::set_log_level(log_level(config.log_level()));
  freshet::log_info("freshetd", "configuration: " + freshet::to_json(config));
  auto app = freshet::App::start(config);
  if (!app.is_ok()) {
    std::fprintf(stderr, "freshetd: %s\n", app.status().message().c_str());
    return 1;
  }
  int signal = 0;
  sigwait(&signals, &signal);
  CRASH_POINT("daemon.stop.after_signal");
  freshet::log_info("freshetd", std::string("got ") + strsignal(signal) + ", stopping; agents and their gangs go on");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (freshet::Status armed = freshet::arm_crash_points_from_environment(); !armed.is_ok()) {
    std::fprintf(stderr, "freshetd: %s\n", armed.message().c_str());
    return 2;
  }
  CLI::App cli{"freshetd: watches data and code, trains, judges and promotes models"};
  cli.footer(
      "Examples:\n"
      "  freshetd                                  serve ~/.freshet on 127.0.0.1:7070 with a local agent\n"
      "  freshetd --data-dir /srv/freshet --listen 127.0.0.1:0\n"
      "  freshetd --config /etc/freshet/freshetd.yaml --log-level debug");
  std::string file;
  DaemonConfig flags;
  std::string data_dir, listen, products, level;
  uint32_t slots = 0, heartbeat_ms = 0, lease_ms = 0, disk_reserve_mb = 0, gc_interval_s = 0, gc_grace_s = 0;
  bool no_local_agent = false;
  std::vector<std::string> webhook_allow;
  cli.add_option("--config", file, "YAML file with these settings; flags win over it");
  cli.add_option("--data-dir", data_dir, "where all state is kept (default $FRESHET_DATA_DIR or ~/.freshet)");
  cli.add_option("--listen", listen, "address of the API (default 127.0.0.1:7070; port 0 takes a free one)");
  cli.add_option("--local-slots", slots, "CPU slots of the local agent (default: the machine's cores)");
  cli.add_option("--local-products", products,
                 "table of freshet-tune by which this machine's GPUs compute matrix products (default none)");
  cli.add_flag("--no-local-agent", no_local_agent, "do not start an agent on this machine");
  cli.add_option("--heartbeat-ms", heartbeat_ms, "how often agents report (default 1000)");
  cli.add_option("--lease-ms", lease_ms, "a node silent for so long is dead (default 15000)");
  cli.add_option("--disk-reserve-mb", disk_reserve_mb,
                 "with less than that free (MiB) new work is refused, and what runs goes on (default 256)");
  cli.add_option("--webhook-allow", webhook_allow,
                 "addresses like 10.1.0.0/16 that webhooks may reach besides public ones; repeatable")
      ->allow_extra_args(false);
  cli.add_option("--gc-interval-s", gc_interval_s, "between two rounds of garbage collection (default 3600)");
  cli.add_option("--gc-grace-s", gc_grace_s, "what was used within that time is never collected (default 86400)");
  cli.add_option("--log-level", level, "debug, info, warning or error (default info)");
  cli.set_version_flag("--version", freshet::kVersion);
  cli.require_subcommand(0, 1);
  std::string backup, restored_to;
  CLI::App* restore = cli.add_subcommand("restore", "Copy a backup to a new data directory, verified, and end");
  restore->add_option("backup", backup, "directory of the backup")->required();
  restore->add_option("--data-dir", restored_to, "the new data directory, absent or empty")->required();
  CLI::App* verify = cli.add_subcommand("verify-backup", "Read every file of a backup, and end");
  verify->add_option("backup", backup, "directory of the backup")->required();
  CLI11_PARSE(cli, argc, argv);
  if (restore->parsed()) return print(freshet::restore_data_directory(backup, restored_to));
  if (verify->parsed()) return print(freshet::verify_backup_directory(backup));
  flags.set_data_dir(data_dir);
  flags.set_listen(listen);
  flags.set_local_slots(slots);
  flags.set_local_products(products);
  flags.set_no_local_agent(no_local_agent);
  flags.set_heartbeat_ms(heartbeat_ms);
  flags.set_lease_ms(lease_ms);
  flags.set_disk_reserve_mb(disk_reserve_mb);
  flags.set_gc_interval_s(gc_interval_s);
  flags.set_gc_grace_s(gc_grace_s);
  flags.set_log_level(level);
  for (const auto& range : webhook_allow) flags.add_webhook_allow(range);
  auto config = read_config(file, flags);
  if (!config.is_ok()) {
    std::fprintf(stderr, "freshetd: %s\n", config.status().message().c_str());
    return 2;
  }
  return run(*config);
}
