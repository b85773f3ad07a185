#include "daemon/async/task_group.h"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/system_error.hpp>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace freshet::async {

namespace asio = boost::asio;

namespace {

struct Task {
  asio::any_io_executor executor;
  std::shared_ptr<asio::cancellation_signal> signal;
};

// Empty when the task ended as it should: by itself or by stop().
std::string failure_of(const std::exception_ptr& exception) {
  if (!exception) return {};
  try {
    std::rethrow_exception(exception);
  } catch (const boost::system::system_error& error) {
    return error.code() == asio::error::operation_aborted ? std::string() : error.what();
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace

struct TaskGroup::State {
  std::string name;
  OnFailure on_failure;
  mutable std::mutex mutex;
  std::condition_variable ended;
  std::map<uint64_t, Task> tasks;  // guarded by mutex, as all below
  uint64_t next_id = 0;
  size_t failures = 0;
  bool is_stopped = false;

  void finish(uint64_t id, const std::exception_ptr& exception) {
    std::string failure = failure_of(exception);
    if (!failure.empty()) {
      log_error(name, "a task ended with an unexpected exception: " + failure);
      if (on_failure) on_failure(failure);
    }
    Task task;  // released without the lock
    {
      std::lock_guard lock(mutex);
      auto node = tasks.extract(id);
      task = std::move(node.mapped());
      if (!failure.empty()) ++failures;
      ended.notify_all();
    }
  }
};

TaskGroup::TaskGroup(std::string name, OnFailure on_failure) : state_(std::make_shared<State>()) {
  state_->name = std::move(name);
  state_->on_failure = std::move(on_failure);
}

TaskGroup::~TaskGroup() { CHECK_MSG(running() == 0, state_->name + ": the group of running tasks was destroyed"); }

bool TaskGroup::start(asio::any_io_executor executor, asio::awaitable<void> task) {
  auto signal = std::make_shared<asio::cancellation_signal>();
  uint64_t id = 0;
  {
    std::lock_guard lock(state_->mutex);
    if (state_->is_stopped) return false;
    id = state_->next_id++;
    state_->tasks.emplace(id, Task{executor, signal});
  }
  // On the executor, so that the signal is only ever touched there.
  asio::post(executor, [state = state_, id, signal, executor, task = std::move(task)]() mutable {
    asio::co_spawn(
        executor, std::move(task),
        asio::bind_cancellation_slot(signal->slot(), [state, id, signal](const std::exception_ptr& exception) {
          state->finish(id, exception);
        }));
  });
  return true;
}

void TaskGroup::stop() {
  std::lock_guard lock(state_->mutex);
  state_->is_stopped = true;
  for (auto& [id, task] : state_->tasks) {
    asio::post(task.executor, [signal = task.signal] { signal->emit(asio::cancellation_type::terminal); });
  }
}

bool TaskGroup::wait(Duration limit) {
  std::unique_lock lock(state_->mutex);
  return state_->ended.wait_for(lock, std::chrono::microseconds(limit.us), [this] { return state_->tasks.empty(); });
}

size_t TaskGroup::running() const {
  std::lock_guard lock(state_->mutex);
  return state_->tasks.size();
}

size_t TaskGroup::failures() const {
  std::lock_guard lock(state_->mutex);
  return state_->failures;
}

}  // namespace freshet::async
