#include "worker/comm/local.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstring>
#include <numeric>

#include "tests/unit/worker/shared_floats.h"

namespace freshet::worker {
namespace {

class LocalGang : public testing::TestWithParam<int> {};

// Every rank sends every other a message whose size and content only the two of them have; some are longer than the
// queues between them, some are empty.
TEST_P(LocalGang, ExchangesMessagesOfAnySize) {
  Status status = run_local_gang(GetParam(), [](Communicator& comm) -> Status {
    auto size_of = [](size_t from, size_t to) { return (from * 7 + to * 3) % 5 * 200'000; };
    auto content = [](size_t from, size_t to, size_t i) { return static_cast<float>(from * 1000 + to * 100 + i % 97); };
    auto ranks = static_cast<size_t>(comm.size()), me = static_cast<size_t>(comm.rank());
    for (int round = 0; round < 3; ++round) {
      std::vector<std::vector<float>> out(ranks), in(ranks);
      std::vector<Bytes> outgoing;
      std::vector<MutableBytes> incoming;
      for (size_t peer = 0; peer < ranks; ++peer) {
        for (size_t i = 0; i < size_of(me, peer); ++i) out[peer].push_back(content(me, peer, i));
        in[peer].resize(size_of(peer, me));
        outgoing.push_back(bytes_of(std::span<const float>(out[peer])));
        incoming.push_back(bytes_of(std::span<float>(in[peer])));
      }
      RETURN_IF_ERROR(comm.exchange(outgoing, incoming));
      for (size_t peer = 0; peer < ranks; ++peer) {
        for (size_t i = 0; i < in[peer].size() && peer != me; ++i) {
          if (in[peer][i] != content(peer, me, i)) return corrupt("element " + std::to_string(i));
        }
      }
    }
    return Status::ok();
  });
  EXPECT_TRUE(status.is_ok()) << status.to_string();
}

// Only the sender knows how long a message is; the own one comes back.
TEST_P(LocalGang, AllToAllBringsMessagesOfUnknownSize) {
  Status status = run_local_gang(GetParam(), [](Communicator& comm) -> Status {
    auto content = [](size_t from, size_t to) {
      return std::vector<uint32_t>((from * 5 + to * 3) % 4 * 30'000, static_cast<uint32_t>(from * 10 + to));
    };
    const auto ranks = static_cast<size_t>(comm.size()), me = static_cast<size_t>(comm.rank());
    std::vector<std::vector<uint32_t>> out;
    std::vector<Bytes> outgoing;
    for (size_t peer = 0; peer < ranks; ++peer) out.push_back(content(me, peer));
    for (const auto& message : out) outgoing.push_back(bytes_of(std::span<const uint32_t>(message)));
    ASSIGN_OR_RETURN(auto received, comm.all_to_all(outgoing));
    for (size_t peer = 0; peer < ranks; ++peer) {
      const auto expected = content(peer, me);
      if (received[peer].size() != expected.size() * sizeof(uint32_t)) return corrupt("size");
      if (!expected.empty() && std::memcmp(received[peer].data(), expected.data(), received[peer].size()) != 0) {
        return corrupt("content from " + std::to_string(peer));
      }
    }
    return Status::ok();
  });
  EXPECT_TRUE(status.is_ok()) << status.to_string();
}

TEST_P(LocalGang, CollectivesReachEveryRank) {
  SharedFloats gathered(16);
  Status status = run_local_gang(GetParam(), [&](Communicator& comm) -> Status {
    auto me = static_cast<size_t>(comm.rank());
    float token = comm.rank() == 0 ? 42 : 0;
    RETURN_IF_ERROR(comm.broadcast(bytes_of(std::span<float>(&token, 1))));
    if (token != 42) return corrupt("broadcast");
    std::vector<float> all(static_cast<size_t>(comm.size()));
    std::vector<MutableBytes> parts;
    for (auto& item : all) parts.push_back(bytes_of(std::span<float>(&item, 1)));
    all[me] = static_cast<float>(me + 1);
    RETURN_IF_ERROR(comm.all_gather(parts[me], parts));
    for (size_t r = 0; r < all.size(); ++r) {
      if (all[r] != static_cast<float>(r + 1)) return corrupt("all_gather");
    }
    float mine = static_cast<float>(me * 10);
    RETURN_IF_ERROR(comm.gather(bytes_of(std::span<const float>(&mine, 1)), parts));
    RETURN_IF_ERROR(comm.barrier());
    if (me == 0) std::copy(all.begin(), all.end(), gathered.data());
    return comm.agree(Status::ok());
  });
  ASSERT_TRUE(status.is_ok()) << status.to_string();
  for (int r = 0; r < GetParam(); ++r) EXPECT_EQ(gathered.data()[r], static_cast<float>(r * 10));
}

INSTANTIATE_TEST_SUITE_P(Ranks, LocalGang, testing::Values(1, 2, 3, 4, 8));

TEST(LocalGangErrors, AgreeBringsTheFirstErrorToAll) {
  SharedFloats seen(3);
  Status status = run_local_gang(3, [&](Communicator& comm) -> Status {
    Status agreed = comm.agree(comm.rank() == 1 ? not_found("no such file") : Status::ok());
    bool expected = agreed.code() == Code::kNotFound &&
                    agreed.message() == (comm.rank() == 1 ? "no such file" : "rank 1: no such file");
    seen.data()[comm.rank()] = expected ? 1 : 0;
    return agreed;
  });
  EXPECT_EQ(seen.values(), (std::vector<float>{1, 1, 1}));
  EXPECT_EQ(status.code(), Code::kNotFound);
}

TEST(LocalGangErrors, ARankThatFailsEndsTheOthers) {
  Status status = run_local_gang(3, [](Communicator& comm) -> Status {
    if (comm.rank() == 2) return invalid_argument("no such column");
    return comm.barrier();
  });
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.message(), "rank 2: no such column");
}

TEST(LocalGangErrors, ARankThatIsKilledEndsTheOthers) {
  Status status = run_local_gang(3, [](Communicator& comm) -> Status {
    if (comm.rank() == 1) raise(SIGKILL);
    return comm.barrier();
  });
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_EQ(status.message(), "rank 1: ended by signal 9");
}

}  // namespace
}  // namespace freshet::worker
