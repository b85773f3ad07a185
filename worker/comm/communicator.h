// Communicator: the only way ranks talk. An implementation gives one collective, exchange(); all else is made of it,
// and no implementation ever adds numbers up, so that nothing that reaches the weights depends on a library's
// reduction. Every rank makes the same calls in the same order, from one thread. An error means that the gang is broken
// and must end. Implementations: SingleCommunicator here, local.h (processes over shared memory), mpi.h.
#pragma once

#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

#include "base/status.h"

namespace freshet::worker {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

template <class T>
Bytes bytes_of(std::span<const T> values) {
  static_assert(std::is_trivially_copyable_v<T>);
  return std::as_bytes(values);
}
template <class T>
MutableBytes bytes_of(std::span<T> values)
  requires(!std::is_const_v<T>)
{
  static_assert(std::is_trivially_copyable_v<T>);
  return std::as_writable_bytes(values);
}

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // The slow part of joining the gang, which can take tenths of a second: a rank calls it once, before its first
  // exchange, and may do other things on other threads meanwhile.
  virtual Status start() { return Status::ok(); }

  // Sends outgoing[r] to every rank r and fills incoming[r] from it; both have size() items, and the sizes of the two
  // sides agree because every rank computes them from the same facts. The item of the own rank is ignored.
  virtual Status exchange(const std::vector<Bytes>& outgoing, const std::vector<MutableBytes>& incoming) = 0;

  // Every rank's `part` has been copied to all[rank] of every rank; all[rank()] may be `part` itself.
  Status all_gather(Bytes part, const std::vector<MutableBytes>& all);
  // Rank 0's bytes reach every rank.
  Status broadcast(MutableBytes bytes);
  // As all_gather, but only rank 0 receives; `all` is ignored elsewhere.
  Status gather(Bytes part, const std::vector<MutableBytes>& all);
  // As exchange, of messages whose sizes only their senders know; the own rank's comes back, too. Two exchanges.
  Result<std::vector<std::vector<std::byte>>> all_to_all(const std::vector<Bytes>& outgoing);
  // Returns when every rank has called it.
  Status barrier();
  // Whether all ranks are well. A rank with an error gets its own back; the others get that of the first such rank,
  // with its number in front.
  Status agree(const Status& mine);
};

// A gang of one.
class SingleCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  Status exchange(const std::vector<Bytes>&, const std::vector<MutableBytes>&) override { return Status::ok(); }
};

}  // namespace freshet::worker
