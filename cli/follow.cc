#include "cli/follow.h"

#include <ostream>

#include "cli/render/runs.h"

namespace freshet::cli {
namespace {

constexpr Duration kAwayMax = Duration::seconds(60);
constexpr Duration kBetweenTries = Duration::millis(500);

class Screen {
 public:
  explicit Screen(Session& session) : session_(session) {}
  ~Screen() { clear(); }

  // With --json standard output belongs to the message alone.
  void show(const Progress& progress, const v1::Run& before) {
    std::ostream& lines = session_.globals.json ? session_.env.err : session_.env.out;
    const auto changes = step_changes(before, progress.event.run());
    if (!changes.empty()) clear();
    for (const auto& line : changes) lines << line << "\n";
    if (session_.env.is_terminal && !session_.globals.json) {
      const std::string line = render_progress(progress, session_.render_options(), session_.env.columns - 1);
      lines << "\r\033[K" << line;
      is_drawn_ = true;
    }
    lines << std::flush;
  }

  void clear() {
    if (is_drawn_) session_.env.out << "\r\033[K" << std::flush;
    is_drawn_ = false;
  }

 private:
  Session& session_;
  bool is_drawn_ = false;
};

}  // namespace

Result<v1::Run> follow_run(Session& session, Client& client, const std::string& run_id) {
  Screen screen(session);
  Progress progress;
  v1::Run last;
  Time contact = session.env.clock.monotonic();
  auto look_for_reason = [&] {
    v1::RunView view;
    // Only what makes the line nicer; the events carry the truth.
    if (!client.get(path_of({"runs", run_id}), client.in_project(), &view).is_ok()) return;
    progress.waiting_reason = view.waiting_reason();
    progress.total_steps = view.total_steps();
  };
  while (true) {
    look_for_reason();
    Status status = client.events(run_id, [&](const v1::RunEvent& event) {
      contact = session.env.clock.monotonic();
      progress.event = event;
      screen.show(progress, last);
      last = event.run();
      return !is_ended(last);
    });
    if (is_ended(last)) return last;
    const bool is_away = status.is_ok() || status.code() == Code::kUnavailable || status.code() == Code::kDeadline;
    if (!is_away) return status;
    if (session.env.clock.monotonic() - contact > kAwayMax) {
      return status.is_ok() ? unavailable("the daemon sends no more events") : status;
    }
    if (!session.env.pause(kBetweenTries)) return cancelled("nobody reads the output");
  }
}

Result<int> follow_to_end(Session& session, Client& client, const std::string& run_id) {
  ASSIGN_OR_RETURN(v1::Run run, follow_run(session, client, run_id));
  RETURN_IF_ERROR(session.print(run, render_outcome(run, session.render_options())).status());
  return run.state() == v1::Run::SUCCEEDED ? kExitOk : kExitRunFailed;
}

}  // namespace freshet::cli
