#include "worker/gpu/staged_communicator.h"

#include "tests/unit/kernels_cuda/support.h"
#include "tests/unit/worker_gpu/thread_gang.h"

namespace freshet::worker {
namespace {

using cuda::Array;
using cuda::Stream;

Bytes bytes_of(const Array<float>& array) { return std::as_bytes(std::span(array.data(), array.size())); }
MutableBytes room_of(const Array<float>& array) {
  return std::as_writable_bytes(std::span(array.data(), array.size()));
}

class StagedGang : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (cuda::device_count() == 0) GTEST_SKIP() << "there is no CUDA device";
  }
};

// Each message is made by work of the stream and looked at by work behind it; sizes change, some are empty.
TEST_P(StagedGang, ExchangesInTheStreamsOrder) {
  const Status status = run_thread_gang(GetParam(), [](Communicator& comm) -> Status {
    const auto ranks = static_cast<size_t>(comm.size()), me = static_cast<size_t>(comm.rank());
    auto size_of = [](size_t from, size_t to, size_t round) { return (from * 7 + to * 3 + round) % 5 * 300; };
    auto content = [](size_t from, size_t to, size_t round) {
      return static_cast<float>(from * 100 + to * 10 + round);
    };
    StagedDeviceCommunicator staged(&comm);
    ASSIGN_OR_RETURN(Stream stream, Stream::create());
    for (size_t round = 0; round < 4; ++round) {
      std::vector<Array<float>> made, out, in, seen;
      std::vector<Bytes> outgoing;
      std::vector<MutableBytes> incoming;
      for (size_t peer = 0; peer < ranks; ++peer) {
        made.emplace_back(std::vector<float>(size_of(me, peer, round), content(me, peer, round)));
        out.emplace_back(size_of(me, peer, round));
        in.emplace_back(size_of(peer, me, round));
        seen.emplace_back(size_of(peer, me, round));
        RETURN_IF_ERROR(
            cuda::copy_on_device(out[peer].data(), made[peer].data(), bytes_of(out[peer]).size(), stream.get()));
        outgoing.push_back(bytes_of(out[peer]));
        incoming.push_back(room_of(in[peer]));
      }
      RETURN_IF_ERROR(staged.exchange("messages", outgoing, incoming, &stream));
      for (size_t peer = 0; peer < ranks; ++peer) {
        RETURN_IF_ERROR(
            cuda::copy_on_device(seen[peer].data(), in[peer].data(), bytes_of(in[peer]).size(), stream.get()));
      }
      RETURN_IF_ERROR(stream.synchronize());
      for (size_t peer = 0; peer < ranks; ++peer) {
        const std::vector<float> expected(seen[peer].size(), content(peer, me, round));
        if (peer != me && seen[peer].values() != expected) return corrupt("from rank " + std::to_string(peer));
      }
    }
    return Status::ok();
  });
  EXPECT_TRUE(status.is_ok()) << status.to_string();
}

TEST_P(StagedGang, GathersFromAll) {
  const Status status = run_thread_gang(GetParam(), [](Communicator& comm) -> Status {
    const auto ranks = static_cast<size_t>(comm.size()), me = static_cast<size_t>(comm.rank());
    StagedDeviceCommunicator staged(&comm);
    ASSIGN_OR_RETURN(Stream stream, Stream::create());
    const Array<float> part(std::vector<float>(me + 1, static_cast<float>(me)));
    std::vector<Array<float>> all;
    std::vector<MutableBytes> room;
    for (size_t peer = 0; peer < ranks; ++peer) all.emplace_back(peer + 1);
    for (const auto& array : all) room.push_back(room_of(array));
    RETURN_IF_ERROR(staged.all_gather("parts", bytes_of(part), room, &stream));
    RETURN_IF_ERROR(stream.synchronize());
    for (size_t peer = 0; peer < ranks; ++peer) {
      if (all[peer].values() != std::vector<float>(peer + 1, static_cast<float>(peer))) return corrupt("all_gather");
    }
    return Status::ok();
  });
  EXPECT_TRUE(status.is_ok()) << status.to_string();
}

// Three exchanges in a row, on two streams, are waited for once in the end; the neighbour is sent something else than
// all others, who are sent the same.
TEST_P(StagedGang, OneExchangeLeavesTheNextItsRoom) {
  const Status status = run_thread_gang(GetParam(), [](Communicator& comm) -> Status {
    const auto ranks = static_cast<size_t>(comm.size()), me = static_cast<size_t>(comm.rank());
    StagedDeviceCommunicator staged(&comm);
    ASSIGN_OR_RETURN(Stream one, Stream::create());
    ASSIGN_OR_RETURN(Stream other, Stream::create());
    auto content = [&](size_t from, size_t to, size_t round) {
      return static_cast<float>(from * 10 + round + (to == (from + 1) % ranks ? 1000 : 0));
    };
    std::vector<Array<float>> kept;
    kept.reserve(3 * (ranks + 2));
    for (size_t round = 0; round < 3; ++round) {
      const auto& near = kept.emplace_back(std::vector<float>(500, content(me, (me + 1) % ranks, round)));
      const auto& far = kept.emplace_back(std::vector<float>(500, content(me, me, round)));
      std::vector<Bytes> outgoing(ranks, bytes_of(far));
      outgoing[(me + 1) % ranks] = bytes_of(near);
      std::vector<MutableBytes> incoming;
      for (size_t peer = 0; peer < ranks; ++peer) incoming.push_back(room_of(kept.emplace_back(500)));
      RETURN_IF_ERROR(staged.exchange("messages", outgoing, incoming, round % 2 == 0 ? &one : &other));
    }
    RETURN_IF_ERROR(one.synchronize());
    RETURN_IF_ERROR(other.synchronize());
    for (size_t round = 0; round < 3; ++round) {
      for (size_t peer = 0; peer < ranks; ++peer) {
        const std::vector<float> expected(500, content(peer, me, round));
        if (peer != me && kept[round * (ranks + 2) + 2 + peer].values() != expected) {
          return corrupt("round " + std::to_string(round) + ", from rank " + std::to_string(peer));
        }
      }
    }
    return Status::ok();
  });
  EXPECT_TRUE(status.is_ok()) << status.to_string();
}

INSTANTIATE_TEST_SUITE_P(Ranks, StagedGang, testing::Values(1, 2, 3, 4, 8));

TEST(StagedGangErrors, AnErrorNamesTheOperation) {
  if (cuda::device_count() == 0) GTEST_SKIP() << "there is no CUDA device";
  const Status status = run_thread_gang(2, [](Communicator& comm) -> Status {
    if (comm.rank() == 1) return Status::ok();
    StagedDeviceCommunicator staged(&comm);
    ASSIGN_OR_RETURN(Stream stream, Stream::create());
    const Array<float> part(4), other(4);
    return staged.all_gather("gradient norm", bytes_of(part), {room_of(part), room_of(other)}, &stream);
  });
  EXPECT_EQ(status.message(), "rank 0: gradient norm: another rank of this gang has ended");
}

TEST(SingleDevice, GathersItsOwn) {
  if (cuda::device_count() == 0) GTEST_SKIP() << "there is no CUDA device";
  SingleDeviceCommunicator single;
  auto stream = Stream::create();
  ASSERT_TRUE(stream.is_ok());
  const Array<float> part(std::vector<float>{1, 2, 3}), all(3);
  EXPECT_OK(single.all_gather("parts", bytes_of(part), {room_of(all)}, &*stream));
  EXPECT_OK(stream->synchronize());
  EXPECT_EQ(all.values(), (std::vector<float>{1, 2, 3}));
}

}  // namespace
}  // namespace freshet::worker
