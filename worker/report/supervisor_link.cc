#include "worker/report/supervisor_link.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/crash_point.h"
#include "base/process.h"
#include "proto/frame.h"

namespace freshet::worker {

Result<std::unique_ptr<SupervisorLink>> SupervisorLink::connect(const std::filesystem::path& socket, int rank) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.native().size() >= sizeof address.sun_path) {
    return invalid_argument("the supervisor's socket path is longer than " +
                            std::to_string(sizeof address.sun_path - 1) + " bytes: use a shorter data directory");
  }
  std::memcpy(address.sun_path, socket.c_str(), socket.native().size());
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.is_open()) return errno_status("socket", errno);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return errno_status("connect to the supervisor at " + socket.string(), errno);
  }
  std::unique_ptr<SupervisorLink> link(new SupervisorLink(std::move(fd), rank));
  ASSIGN_OR_RETURN(ProcessId self, identify(getpid()));
  v1::RankFrame frame;
  frame.mutable_hello()->set_rank(static_cast<uint32_t>(rank));
  auto* process = frame.mutable_hello()->mutable_process();
  process->set_rank(static_cast<uint32_t>(rank));
  process->set_pid(self.pid);
  process->set_start_ticks(self.start_ticks);
  process->set_boot_id(self.boot_id);
  process->set_cgroup(self.cgroup);
  CRASH_POINT("worker.hello.before_send");
  RETURN_IF_ERROR(link->send(frame));
  CRASH_POINT("worker.hello.after_send");
  return link;
}

Result<v1::AttemptSpec> SupervisorLink::receive_attempt() {
  v1::SupervisorFrame frame;
  ASSIGN_OR_RETURN(bool received, read_frame(socket_.get(), &frame));
  if (!received) return unavailable("the supervisor closed its socket before it sent the attempt");
  CRASH_POINT("worker.attempt.after_receipt");
  if (rank_ == 0 && !frame.attempt().metric_ring().empty()) {
    ASSIGN_OR_RETURN(ring_, MetricRing::open(frame.attempt().metric_ring()));
  }
  return frame.attempt();
}

Status SupervisorLink::fail(const std::string& message) {
  v1::RankFrame frame;
  frame.mutable_failure()->set_rank(static_cast<uint32_t>(rank_));
  frame.mutable_failure()->set_message(message);
  CRASH_POINT("worker.failure.before_send");
  Status sent = send(frame);
  CRASH_POINT("worker.failure.after_send");
  return sent;
}

Status SupervisorLink::milestone(std::string_view name) {
  v1::RankFrame frame;
  frame.mutable_milestone()->set_name(std::string(name));
  frame.mutable_milestone()->set_time_us(clock_.now().us);
  CRASH_POINT("worker.milestone.before_send");
  Status sent = send(frame);
  CRASH_POINT("worker.milestone.after_send");
  return sent;
}

Status SupervisorLink::produced(const v1::ProducedOutput& output) {
  v1::RankFrame frame;
  *frame.mutable_output() = output;
  CRASH_POINT("worker.output.before_send");
  Status sent = send(frame);
  CRASH_POINT("worker.output.after_send");
  return sent;
}

void SupervisorLink::metric(std::string_view name, double value, int64_t step) {
  if (ring_) ring_->push(name, value, step, clock_.now().us);
}

Status SupervisorLink::send(const v1::RankFrame& frame) {
  return write_frame(socket_.get(), frame).with_context("tell the supervisor");
}

}  // namespace freshet::worker
