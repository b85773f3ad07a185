// One gang on this node, from the agent's side: gets it launched, watches its supervisor, ships its journal in order
// (each output's bytes before the entry that announces it), and removes its files when the daemon forgets it. Owned by
// the agent; its own thread does all that may block. The methods only leave wishes for that thread. Destroying the
// object leaves the gang's processes alone.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "agent/artifact_cache.h"
#include "agent/channel.h"
#include "agent/gang_files.h"
#include "agent/journal.h"
#include "agent/supervisor_process.h"
#include "base/time.h"
#include "proto/agent.pb.h"

namespace freshet::agent {

// What all gangs of an agent share; outlives them.
struct GangContext {
  std::filesystem::path agent_dir;
  SupervisorProgram program;
  const ArtifactCache& cache;
  DaemonNetwork& network;
  const Clock& clock;
  // Sends on that connection; unavailable when it is not the current one any more. Any thread.
  std::function<Status(uint64_t connection, const v1::AgentFrame& frame)> send;
  // The gang is gone from the disk and its object may be destroyed. Called by the gang's thread.
  std::function<void()> on_gone;
};

class Gang {
 public:
  // For the directory agent_dir/gangs/ID, which exists. `attempt`: what attempt.pb says, or what is to be launched.
  Gang(const GangContext& context, v1::AttemptSpec attempt);
  ~Gang();
  Gang(const Gang&) = delete;
  Gang& operator=(const Gang&) = delete;

  const std::string& id() const { return attempt_.gang_id(); }
  const v1::AttemptSpec& attempt() const { return attempt_; }

  // Launches unless that has been done; either way a LaunchReply goes out on the connection.
  void launch();
  // Asks the supervisor to stop the ranks. Durable; also heard by a supervisor that starts later. Idempotent.
  Status stop(const v1::StopAttempt& stop);
  // From now on the journal is shipped on this connection, starting behind `position`.
  void connected(uint64_t connection, uint64_t position);
  void disconnected();
  void acknowledge(uint64_t sequence);
  // Remove everything once the supervisor has ended (it is stopped if need be).
  void forget();

  v1::GangStatus status() const;
  bool is_gone() const;

 private:
  struct Wishes {
    bool quit = false;
    bool launch = false;
    bool forget = false;
    uint64_t connection = 0;  // 0: none
    std::optional<uint64_t> position;
    uint64_t acknowledged = 0;
  };

  void run();
  Wishes take_wishes();
  bool should_quit() const;
  void wake();
  void wait();
  void launch_now(const Wishes& wishes);
  Status place_files();
  Status fetch_artifacts();
  void fail_launch(const Wishes& wishes, const Status& why);
  void reply_launched(const Wishes& wishes, const Status& status);
  void watch_supervisor();
  void settle();
  void ship(const Wishes& wishes);
  bool upload(const v1::JournalEntry& entry);
  bool send_chunk(uint64_t connection, v1::JournalChunk* chunk);
  void abandon(const v1::JournalEntry& entry, const Status& why);
  Status remove_files();
  bool is_supervised() const { return supervisor_.is_open(); }
  void retry_at(Time at) { wake_at_ = std::min(wake_at_, at); }

  const GangContext& context_;
  v1::AttemptSpec attempt_;  // with the agent's paths; constant once the thread runs
  GangFiles files_;
  std::unique_ptr<ArtifactTransfer> transfer_;
  Fd wake_fd_;

  mutable std::mutex mutex_;
  Wishes wishes_;      // guarded by mutex_
  bool gone_ = false;  // guarded by mutex_

  // The thread's own.
  Fd inotify_;
  bool watches_journal_ = false;
  Fd supervisor_;  // pidfd while it lives
  bool settled_ = false;
  Time wake_at_ = Time::never();
  JournalReader reader_;
  uint64_t sent_ = 0;
  std::optional<v1::JournalEntry> held_;  // an output whose bytes are not uploaded yet
  Duration upload_backoff_{};
  Time upload_at_{};
  Time progress_at_{};  // when something was last sent or acknowledged
  uint64_t acknowledged_ = 0;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace freshet::agent
