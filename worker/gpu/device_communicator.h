// DeviceCommunicator: how ranks on GPUs talk, Communicator's counterpart over device memory. Like it, one collective,
// of which all else is made, and no adding up. An exchange is work of a stream: it reads what was queued in front of it
// wrote, and what is queued behind it reads what has arrived. Every rank makes the same calls in the same order, from
// one thread, over streams of the same device. An error means that the gang is broken and must end. Implementations:
// SingleDeviceCommunicator here, staged_communicator.h (through the host, any Communicator), nccl_communicator.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "kernels/cuda/device.h"
#include "worker/comm/communicator.h"

namespace freshet::worker {

class DeviceCommunicator {
 public:
  virtual ~DeviceCommunicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Whether an exchange only queues work, so that it runs beside other streams and may be recorded into a graph.
  virtual bool is_asynchronous() const = 0;

  // Sends outgoing[r] to every rank r and fills incoming[r] from it, all of it device memory that stays until the
  // stream has come past; both have size() items, and the sizes of the two sides agree because every rank computes
  // them from the same facts. The item of the own rank is ignored. `operation` names it in errors.
  virtual Status exchange(const std::string& operation, const std::vector<Bytes>& outgoing,
                          const std::vector<MutableBytes>& incoming, cuda::Stream* stream) = 0;

  // Every rank's `part` is copied to all[rank] of every rank; all[rank()] may be `part` itself.
  Status all_gather(const std::string& operation, Bytes part, const std::vector<MutableBytes>& all,
                    cuda::Stream* stream);

  // The exchanges from here on are the first, second ... of a step. Once for each step that is queued or recorded; a
  // graph that is launched again keeps the numbers of its recording.
  virtual void begin_step() {}
  // Event::synchronize for events behind exchanges: ends with an error, instead of never, when a peer is lost. `step`
  // is the one that the event ends.
  virtual Status wait(const cuda::Event& event, [[maybe_unused]] uint64_t step) { return event.synchronize(); }
};

// A gang of one.
class SingleDeviceCommunicator final : public DeviceCommunicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  bool is_asynchronous() const override { return true; }
  Status exchange(const std::string&, const std::vector<Bytes>&, const std::vector<MutableBytes>&,
                  cuda::Stream*) override {
    return Status::ok();
  }
};

}  // namespace freshet::worker
