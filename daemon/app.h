// App: the wiring of freshetd, and the only place that names concrete classes. start() opens the data directory, raises
// the term, recovers nothing by hand (the reconcilers do that from what the store says) and begins to serve; stop()
// ends in the opposite order and leaves agents and gangs alone.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "proto/config.pb.h"

namespace freshet {

class App {
 public:
  // `config` is complete (complete_config). Errors say what to change: a port in use, a data directory that is locked.
  static Result<std::unique_ptr<App>> start(const v1::DaemonConfig& config);
  ~App();

  std::string url() const;

 private:
  struct Impl;
  explicit App(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace freshet
