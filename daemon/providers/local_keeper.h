// LocalAgentKeeper: while the daemon runs, so does its local agent. A thread waits for the agent's end, however it
// comes, and starts the next one, which finds the gangs of the last. Owned by the app; destroying it leaves the agent
// running.
#pragma once

#include <thread>

#include "base/file.h"
#include "base/time.h"
#include "daemon/providers/local.h"

namespace freshet {

class LocalAgentKeeper {
 public:
  // `backoff`: from one start to the next, doubled each time up to 32 times as much while agents end soon.
  explicit LocalAgentKeeper(LocalProvider provider, Duration backoff = Duration::millis(200));
  ~LocalAgentKeeper();
  LocalAgentKeeper(const LocalAgentKeeper&) = delete;
  LocalAgentKeeper& operator=(const LocalAgentKeeper&) = delete;

 private:
  void run();
  // Waits for the end of the agent that runs now. False: none has come up in time.
  bool await_end();
  // True: the keeper is to stop.
  bool pause(Duration limit);

  LocalProvider provider_;
  Duration backoff_;
  SystemClock clock_;
  Fd stop_;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace freshet
