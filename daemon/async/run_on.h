// run_on(): a coroutine hands blocking work to a WorkerPool and waits for its result, at most until a deadline. The
// work owns all it touches: after the deadline (or when the coroutine is stopped) it may still run, and its result is
// dropped; work that has not begun by then is not begun. The coroutine's executor must run one handler at a time.
#pragma once

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/status.h"
#include "daemon/async/worker_pool.h"

namespace freshet::async {

namespace detail {

template <class T>
struct PendingJob {
  PendingJob(boost::asio::any_io_executor executor, std::chrono::steady_clock::time_point limit)
      : done(std::move(executor), limit) {}
  boost::asio::steady_timer done;  // cancelled when the result is there
  std::optional<Result<T>> result;
  std::atomic<bool> is_abandoned = false;
};

// Marks the job as abandoned however the coroutine ends.
template <class T>
struct AbandonOnExit {
  std::shared_ptr<PendingJob<T>> job;
  ~AbandonOnExit() { job->is_abandoned = true; }
};

template <class T>
Result<T> call_guarded(const std::function<Result<T>()>& work) {
  try {
    return work();
  } catch (const std::exception& error) {
    return internal(std::string("unexpected exception: ") + error.what());
  }
}

}  // namespace detail

// `submit` is Status(std::function<void()>) and hands the job to whatever runs it. deadline: not done in time.
// internal: it threw. Any other code: what `submit` said.
template <class T, class Submit>
boost::asio::awaitable<Result<T>> run_via(Submit submit, std::function<Result<T>()> work,
                                          std::chrono::steady_clock::time_point limit) {
  namespace asio = boost::asio;
  asio::any_io_executor executor = co_await asio::this_coro::executor;
  auto job = std::make_shared<detail::PendingJob<T>>(executor, limit);
  detail::AbandonOnExit<T> abandon{job};
  Status queued = submit([job, executor, work = std::move(work)] {
    if (job->is_abandoned) return;
    asio::post(executor, [job, result = detail::call_guarded<T>(work)]() mutable {
      job->result.emplace(std::move(result));
      job->done.cancel();
    });
  });
  if (!queued.is_ok()) co_return queued;
  // The result is posted to this executor, so it cannot come before the wait has begun.
  co_await job->done.async_wait(asio::as_tuple(asio::use_awaitable));
  if (job->result) co_return std::move(*job->result);
  co_return deadline("not done in time; it may still be carried out");
}

// On the pool: resource_exhausted or unavailable when it does not take the job.
template <class T>
boost::asio::awaitable<Result<T>> run_on(WorkerPool& pool, std::function<Result<T>()> work,
                                         std::chrono::steady_clock::time_point limit,
                                         Admission admission = Admission::kBounded) {
  auto submit = [&pool, admission](std::function<void()> job) { return pool.submit(std::move(job), admission); };
  return run_via<T>(submit, std::move(work), limit);
}

}  // namespace freshet::async
