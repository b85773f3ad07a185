#include "worker/gpu/device_reducer.h"

#include <map>

#include "kernels/cuda/reduce.h"
#include "tests/unit/worker_gpu/reducing.h"
#include "tests/unit/worker_gpu/thread_gang.h"
#include "worker/gpu/staged_communicator.h"

namespace freshet::worker {
namespace {

using cuda::Array;
using cuda::Stream;

class DeviceReducerGang : public testing::TestWithParam<GangCase> {
 protected:
  void SetUp() override {
    if (cuda::device_count() == 0) GTEST_SKIP() << "there is no CUDA device";
  }
};

TEST_P(DeviceReducerGang, GivesTheBitsOfTheCpu) {
  for (const size_t leaves_max : {8, 11}) {
    const Status status = run_thread_gang(GetParam().ranks, [&](Communicator& comm) {
      StagedDeviceCommunicator staged(&comm);
      return reduce_like_the_cpu(&staged, comm, leaves_max, GetParam().stage);
    });
    EXPECT_TRUE(status.is_ok()) << status.to_string();
  }
}

TEST_P(DeviceReducerGang, GathersBlocks) {
  const Status status = run_thread_gang(GetParam().ranks, [&](Communicator& comm) -> Status {
    StagedDeviceCommunicator staged(&comm);
    ASSIGN_OR_RETURN(auto reducer, DeviceReducer::create(&staged, kParameters, 8, kBuckets, GetParam().stage));
    ASSIGN_OR_RETURN(Stream stream, Stream::create());
    const auto values = leaf_gradient(0);
    std::vector<double> expected(6);
    kernels::block_sums_of_squares(kParameters, values.data(), expected.data());
    const Array<float> on_device(values);
    const Array<double> blocks(expected.size());
    const Range segment = reducer.segment();
    RETURN_IF_ERROR(cuda::block_sums_of_squares(segment.size(), on_device.data() + segment.begin,
                                                blocks.data() + segment.begin / kernels::kBlock, stream.get()));
    RETURN_IF_ERROR(reducer.all_gather_blocks("squares", blocks.data(), &stream));
    RETURN_IF_ERROR(stream.synchronize());
    return blocks.values() == expected ? Status::ok() : corrupt("sums of squares");
  });
  EXPECT_TRUE(status.is_ok()) << status.to_string();
}

// Counts what the exchanges bring to this rank.
class CountingCommunicator final : public DeviceCommunicator {
 public:
  explicit CountingCommunicator(DeviceCommunicator* inner) : inner_(inner) {}
  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  bool is_asynchronous() const override { return inner_->is_asynchronous(); }
  Status exchange(const std::string& operation, const std::vector<Bytes>& outgoing,
                  const std::vector<MutableBytes>& incoming, Stream* stream) override {
    size_t received = 0;
    for (size_t peer = 0; peer < incoming.size(); ++peer) {
      if (peer != static_cast<size_t>(rank())) received += incoming[peer].size();
    }
    most_received_ = std::max(most_received_, received);
    return inner_->exchange(operation, outgoing, incoming, stream);
  }
  size_t most_received() const { return most_received_; }  // by one exchange, in bytes

 private:
  DeviceCommunicator* const inner_;
  size_t most_received_ = 0;
};

// No exchange brings a rank more than the even share of a bucket from each other one, whoever owns the bucket.
TEST_P(DeviceReducerGang, UsesTheLinksOfAllRanks) {
  constexpr size_t kBlocks = 24;  // of the larger bucket
  constexpr size_t kBorder = kBlocks * kernels::kBlock, kCount = kBorder + 17 * kernels::kBlock + 5;
  const auto ranks = static_cast<size_t>(GetParam().ranks), leaves = 2 * ranks;  // a rank's share is a whole subtree
  const size_t bound = (kBlocks + ranks - 1) / ranks * kernels::kBlock * (ranks - 1) * sizeof(float);
  const Status status = run_thread_gang(GetParam().ranks, [&](Communicator& comm) -> Status {
    StagedDeviceCommunicator staged(&comm);
    CountingCommunicator counting(&staged);
    ASSIGN_OR_RETURN(auto reducer, DeviceReducer::create(&counting, kCount, leaves, {0, kBorder}, GetParam().stage));
    ASSIGN_OR_RETURN(Stream stream, Stream::create());
    std::vector<Array<float>> kept;
    kept.reserve(leaves);
    reducer.begin_step(leaves, &stream);
    for (const size_t leaf : reducer.leaves()) {
      std::vector<float> values(kCount);
      for (size_t i = 0; i < kCount; ++i) values[i] = static_cast<float>(i + leaf);
      ASSIGN_OR_RETURN(float* gradient, reducer.begin_leaf());
      const float* const from = kept.emplace_back(values).data();
      RETURN_IF_ERROR(cuda::copy_on_device(gradient, from, kCount * sizeof(float), stream.get()));
      RETURN_IF_ERROR(reducer.ready(1));
      RETURN_IF_ERROR(reducer.ready(0));
    }
    ASSIGN_OR_RETURN(const float* segment, reducer.finish());
    std::vector<float> found(reducer.segment().size());
    RETURN_IF_ERROR(cuda::copy_to_host(found.data(), segment, found.size() * sizeof(float), stream.get()));
    RETURN_IF_ERROR(stream.synchronize());
    std::vector<float> expected(found.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      expected[i] = static_cast<float>(leaves * (reducer.segment().begin + i) + leaves * (leaves - 1) / 2);
    }
    RETURN_IF_ERROR(same_bits(expected, found.data(), "segment"));
    if (counting.most_received() <= bound) return Status::ok();
    return corrupt("received " + std::to_string(counting.most_received()) + " bytes and not " + std::to_string(bound));
  });
  EXPECT_TRUE(status.is_ok()) << status.to_string();
}

// Two ranks, of which the other has only zeros and is always there: the whole schedule without another rank.
class ZeroPeer final : public DeviceCommunicator {
 public:
  // Rank 0 sends `sums` sums of each bucket: a power of two.
  explicit ZeroPeer(size_t sums) : zeros_(std::vector<float>(kParameters)) {
    for (size_t bucket = 0; bucket < kBuckets.size(); ++bucket) {
      for (size_t i = 0; i < sums; ++i) sums_[bucket].emplace_back(kParameters);
    }
  }
  int rank() const override { return 0; }
  int size() const override { return 2; }
  bool is_asynchronous() const override { return true; }
  Status exchange(const std::string& operation, const std::vector<Bytes>& outgoing,
                  const std::vector<MutableBytes>& incoming, Stream* stream) override {
    const size_t bucket = std::stoul(operation.substr(operation.rfind(' ')));
    const auto& sums = sums_.at(bucket);
    if (!operation.starts_with("totals")) {
      auto& slice = slices_[bucket];
      CHECK(slice.sent < sums.size());
      slice.bytes = outgoing[1].size();
      RETURN_IF_ERROR(cuda::copy_on_device(sums[slice.sent++].data(), outgoing[1].data(), slice.bytes, stream->get()));
      return cuda::fill_bytes(incoming[1].data(), 0, incoming[1].size(), stream->get());
    }
    // The total of its slice, of which rank 0 owns the beginning: what it was sent, in the tree, and its zeros.
    const auto& slice = slices_[bucket];
    CHECK(slice.sent == sums.size() && incoming[1].size() <= slice.bytes);
    const size_t count = slice.bytes / sizeof(float);
    for (size_t half = 1; half < sums.size(); half *= 2) {
      for (size_t i = 0; i < sums.size(); i += 2 * half) {
        RETURN_IF_ERROR(cuda::tree_add(count, sums[i + half].data(), sums[i].data(), stream->get()));
      }
    }
    RETURN_IF_ERROR(cuda::tree_add(count, zeros_.data(), sums[0].data(), stream->get()));
    return cuda::copy_on_device(incoming[1].data(), sums[0].data(), incoming[1].size(), stream->get());
  }

 private:
  struct Slice {
    size_t sent = 0, bytes = 0;
  };
  const Array<float> zeros_;
  std::map<size_t, std::vector<Array<float>>> sums_;  // of each bucket
  std::map<size_t, Slice> slices_;
};

class DeviceReducerGraph : public cuda::CudaTest {
 protected:
  // A step of eight micro-batches is recorded once and launched twice, over other gradients the second time.
  void expect_repeats(DeviceCommunicator* comm, ZeroStage stage, const std::vector<size_t>& expected_leaves) {
    auto reducer = DeviceReducer::create(comm, kParameters, 8, kBuckets, stage);
    ASSERT_TRUE(reducer.is_ok()) << reducer.status().to_string();
    std::vector<Array<float>> gradients;
    for (size_t leaf = 0; leaf < 8; ++leaf) gradients.emplace_back(kParameters);
    const Array<float> total(kParameters);
    auto graph = cuda::Graph::capture(*stream_, [&]() -> Status {
      reducer->begin_step(8, &*stream_);
      EXPECT_EQ(reducer->leaves(), expected_leaves);
      for (const size_t leaf : reducer->leaves()) {
        ASSIGN_OR_RETURN(float* gradient, reducer->begin_leaf());
        RETURN_IF_ERROR(write_gradient(gradients[leaf], false, gradient, &*reducer, &*stream_));
      }
      ASSIGN_OR_RETURN(const float* segment, reducer->finish());
      return cuda::copy_on_device(total.data(), segment, reducer->segment().size() * sizeof(float), stream());
    });
    ASSERT_TRUE(graph.is_ok()) << graph.status().to_string();
    for (const size_t first : {0, 20}) {
      SubtreeSumsOf sums(expected_leaves, first);
      for (const size_t leaf : expected_leaves) {
        const auto values = leaf_gradient(first + leaf);
        EXPECT_OK(cuda::copy_to_device(gradients[leaf].data(), values.data(), kParameters * sizeof(float), stream()));
        expect_done();
      }
      EXPECT_OK(graph->launch(stream()));
      expect_done();
      const auto found = total.values();
      std::vector<float> expected(sums.values());
      expected.resize(reducer->segment().size());
      EXPECT_OK(same_bits(expected, found.data(), "from leaf " + std::to_string(first)));
    }
  }

 private:
  // The CPU's sum over some of eight leaves, where the others are zero.
  struct SubtreeSumsOf {
    SubtreeSumsOf(const std::vector<size_t>& leaves, size_t first) : pool(kParameters), sums(8, 0, 8, &pool) {
      for (size_t leaf = 0; leaf < 8; ++leaf) {
        float* const buffer = pool.take();
        std::fill_n(buffer, kParameters, 0.0F);
        if (std::ranges::count(leaves, leaf) > 0) std::ranges::copy(leaf_gradient(first + leaf), buffer);
        sums.add_leaf(leaf, buffer);
      }
    }
    std::vector<float> values() const { return {sums.sums()[0], sums.sums()[0] + kParameters}; }
    BufferPool pool;
    SubtreeSums sums;
  };
};

TEST_F(DeviceReducerGraph, OfOneRank) {
  SingleDeviceCommunicator single;
  expect_repeats(&single, ZeroStage::kOne, {0, 1, 2, 3, 4, 5, 6, 7});
}

TEST_F(DeviceReducerGraph, OfTwoRanksWithTwoStreams) {
  ZeroPeer whole_subtree(1), each_leaf(4);
  expect_repeats(&whole_subtree, ZeroStage::kOne, {0, 1, 2, 3});
  expect_repeats(&each_leaf, ZeroStage::kTwo, {0, 2, 4, 6});
}

INSTANTIATE_TEST_SUITE_P(Ranks, DeviceReducerGang, testing::ValuesIn(gang_cases()),
                         [](const auto& tested) { return tested.param.name(); });

}  // namespace
}  // namespace freshet::worker
