#include "daemon/async/io_threads.h"

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/log.h"

namespace freshet::async {

namespace asio = boost::asio;

struct IoThreads::Impl {
  struct Loop {
    asio::io_context io{1};
    asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
    std::thread thread;
  };
  std::vector<std::unique_ptr<Loop>> loops;
  std::atomic<size_t> next = 0;
};

namespace {

void run(asio::io_context& io) {
  for (;;) {
    try {
      io.run();
      return;
    } catch (const std::exception& error) {
      // A coroutine's exception ends in its TaskGroup; this came from a plain handler, and the others go on.
      log_error("async", std::string("unexpected exception in a handler: ") + error.what());
    }
  }
}

}  // namespace

IoThreads::IoThreads(size_t count) : impl_(std::make_unique<Impl>()) {
  CHECK(count > 0);
  for (size_t i = 0; i < count; ++i) impl_->loops.push_back(std::make_unique<Impl::Loop>());
}

IoThreads::~IoThreads() { stop(); }

void IoThreads::start() {
  for (auto& loop : impl_->loops) {
    CHECK(!loop->thread.joinable());
    loop->thread = std::thread([io = &loop->io] { run(*io); });
  }
}

void IoThreads::stop() {
  for (auto& loop : impl_->loops) loop->io.stop();
  for (auto& loop : impl_->loops) {
    if (loop->thread.joinable()) loop->thread.join();
  }
}

size_t IoThreads::count() const { return impl_->loops.size(); }

asio::io_context& IoThreads::loop(size_t index) { return impl_->loops.at(index)->io; }

asio::io_context& IoThreads::next_loop() { return loop(impl_->next.fetch_add(1) % count()); }

}  // namespace freshet::async
