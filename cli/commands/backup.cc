// backup, backup verify, restore. The daemon makes a backup while it serves; reading one needs no daemon and is the
// program freshetd's, which knows the store.
#include <CLI/CLI.hpp>

#include <filesystem>
#include <ostream>

#include "cli/client.h"
#include "cli/commands/commands.h"
#include "proto/backup.pb.h"

namespace freshet::cli {
namespace {

namespace fs = std::filesystem;

constexpr Duration kLookEvery = Duration::millis(200);

struct BackupArguments {
  std::string directory;
  std::string verified;
  std::string restored;
};

std::string absolute(const std::string& directory) { return fs::absolute(directory).lexically_normal().string(); }

std::string mebibytes(uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

std::string progress_of(const v1::BackupStatus& status) {
  if (status.files() == 0) return "copying the records";
  return std::to_string(status.files_done()) + " of " + std::to_string(status.files()) + " files, " +
         mebibytes(status.bytes_done()) + " of " + mebibytes(status.bytes());
}

Result<int> make_backup(Session& session, const std::string& directory) {
  if (directory.empty()) return invalid_argument("name the directory that the backup is to make");
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  v1::BackupRequest request;
  request.set_directory(absolute(directory));
  v1::BackupStatus status;
  RETURN_IF_ERROR(client->post("backup", {}, request, &status));
  std::string told;
  while (status.state() == v1::BackupStatus::RUNNING) {
    if (std::string now = progress_of(status); session.env.is_terminal && now != told) {
      session.env.err << now << "\n" << std::flush;
      told = now;
    }
    if (!session.env.pause(kLookEvery)) return kExitOk;
    RETURN_IF_ERROR(client->get("backup", {}, &status));
  }
  if (status.state() == v1::BackupStatus::DONE && status.directory() == request.directory()) {
    return session.print(status, safe_text(status.directory()) + " holds revision " +
                                     std::to_string(status.revision()) + ": " + std::to_string(status.files()) +
                                     " files of artifacts, " + mebibytes(status.bytes()) + "\n");
  }
  if (status.state() == v1::BackupStatus::FAILED) return unavailable("no backup was made: " + status.message());
  return unavailable("the daemon was started again while it made the backup; there is none");
}

Result<int> run_daemon(Session& session, std::vector<std::string> words) {
  ASSIGN_OR_RETURN(std::string daemon, find_daemon());
  words.insert(words.begin(), daemon);
  session.env.out << std::flush;
  return become(std::move(words));
}

}  // namespace

void add_backup(CLI::App& app, Session& session) {
  auto arguments = std::make_shared<BackupArguments>();
  CLI::App* backup = app.add_subcommand("backup", "Make a backup while the daemon goes on");
  backup->add_option("DIR", arguments->directory, "the directory to make, on the daemon's machine");
  backup->footer(examples({"freshet backup /backups/monday", "freshet backup verify /backups/monday"}));
  session.on(backup, [&session, arguments] { return make_backup(session, arguments->directory); });

  CLI::App* verify = backup->add_subcommand("verify", "Read every file of a backup; needs no daemon");
  verify->add_option("DIR", arguments->verified, "the backup")->required();
  verify->footer(examples({"freshet backup verify /backups/monday"}));
  session.on(verify, [&session, arguments] { return run_daemon(session, {"verify-backup", arguments->verified}); });

  CLI::App* restore = app.add_subcommand("restore", "Make a data directory from a backup; needs no daemon");
  restore->add_option("DIR", arguments->restored, "the backup")->required();
  restore->footer(examples({"freshet restore /backups/monday --data-dir /srv/freshet"}));
  session.on(restore, [&session, arguments]() -> Result<int> {
    ASSIGN_OR_RETURN(std::string data_dir, data_dir_of(session));
    return run_daemon(session, {"restore", arguments->restored, "--data-dir", data_dir});
  });
}

}  // namespace freshet::cli
