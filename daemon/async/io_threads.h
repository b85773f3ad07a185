// IoThreads: the threads that run coroutines, each with an event loop of its own, so that what lives on one loop needs
// no lock. Owned by the app. Nothing that runs here may block: the store, files and control go to a WorkerPool.
#pragma once

#include <cstddef>
#include <memory>

namespace boost::asio {
class io_context;
}

namespace freshet::async {

class IoThreads {
 public:
  explicit IoThreads(size_t count);
  // Stops.
  ~IoThreads();
  IoThreads(const IoThreads&) = delete;
  IoThreads& operator=(const IoThreads&) = delete;

  void start();
  // Ends the loops where they are and joins the threads. Whatever still has tasks on them must be stopped before.
  void stop();

  size_t count() const;
  boost::asio::io_context& loop(size_t index);
  // One after the other, to spread connections. Any thread.
  boost::asio::io_context& next_loop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace freshet::async
