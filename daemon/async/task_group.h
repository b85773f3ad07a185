// TaskGroup: the owner of coroutines. Every coroutine of the daemon is started in one, and whoever owns the group can
// stop it and wait until all have ended. start() and stop() from any thread; wait() never on an IO thread. An
// unexpected exception of a task is logged, counted and given to `on_failure`; it never ends another task.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "base/time.h"

namespace freshet::async {

class TaskGroup {
 public:
  using OnFailure = std::function<void(const std::string& what)>;

  explicit TaskGroup(std::string name, OnFailure on_failure = {});
  // All tasks must have ended: stop() and wait() first.
  ~TaskGroup();
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  // Runs `task` on `executor`, which must run one handler at a time (a loop of IoThreads). false: stopped, the task was
  // dropped and did not start.
  bool start(boost::asio::any_io_executor executor, boost::asio::awaitable<void> task);

  // Takes no more tasks and cancels those that run: their next wait ends with operation_aborted. Does not wait.
  void stop();

  // Until every task has ended, or the limit: false.
  bool wait(Duration limit);

  size_t running() const;
  size_t failures() const;

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the completion of each task
};

}  // namespace freshet::async
