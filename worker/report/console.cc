#include "worker/report/console.h"

#include <cstdio>

namespace freshet::worker {

Status ConsoleReporter::milestone(std::string_view name) {
  std::printf("milestone %.*s %.3f s\n", static_cast<int>(name.size()), name.data(),
              (clock_.monotonic() - start_).to_seconds());
  return Status::ok();
}

Status ConsoleReporter::produced(const v1::ProducedOutput& output) {
  std::printf("output %s %s %s\n", output.name().c_str(), output.digest().c_str(), output.path().c_str());
  return Status::ok();
}

void ConsoleReporter::metric(std::string_view name, double value, int64_t step) {
  std::printf("metric %.*s %.17g step %lld\n", static_cast<int>(name.size()), name.data(), value,
              static_cast<long long>(step));
}

}  // namespace freshet::worker
