#include "worker/gpu/nccl_communicator.h"

#include <gmock/gmock.h>

#include "tests/unit/worker_gpu/device_training.h"
#include "tests/unit/worker_gpu/fake_nccl.h"
#include "tests/unit/worker_gpu/reducing.h"
#include "tests/unit/worker_gpu/tabular_device_training.h"
#include "tests/unit/worker_gpu/thread_gang.h"
#include "worker/gpu/nccl_gang.h"

namespace freshet::worker {
namespace {

using cuda::Array;
using cuda::Event;
using cuda::Stream;
using testing::ElementsAre;
using testing::IsEmpty;

const SystemClock kClock;
const NcclOptions kPatient;
// For what never comes.
const NcclOptions kImpatient{Duration::seconds(60), Duration::millis(100)};

// A gang over `nccl` that ends in order.
Status run_nccl_gang(int ranks, FakeNccl* nccl, const NcclOptions& options,
                     const std::function<Status(NcclCommunicator&, Communicator&)>& body) {
  return run_thread_gang(ranks, [&](Communicator& comm) -> Status {
    ASSIGN_OR_RETURN(auto device, NcclCommunicator::create(nccl, &comm, &kClock, options));
    RETURN_IF_ERROR(body(*device, comm));
    return device->finish();
  });
}

class NcclGangs : public testing::TestWithParam<GangCase> {};

// The whole schedule against the CPU's reducer over threads' memory, bit for bit.
TEST_P(NcclGangs, ReduceLikeTheCpu) {
  for (const size_t leaves_max : {8, 11}) {
    FakeNccl nccl;
    const Status status =
        run_nccl_gang(GetParam().ranks, &nccl, kPatient, [&](NcclCommunicator& device, Communicator& comm) {
          return reduce_like_the_cpu(&device, comm, leaves_max, GetParam().stage);
        });
    EXPECT_TRUE(status.is_ok()) << status.to_string();
    EXPECT_THAT(nccl.mistakes(), IsEmpty());
    EXPECT_EQ(nccl.destroyed(), static_cast<size_t>(GetParam().ranks));
    EXPECT_EQ(nccl.aborted(), 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, NcclGangs, testing::ValuesIn(gang_cases()),
                         [](const auto& tested) { return tested.param.name(); });

// A whole training over NCCL's schedule, micro-batches that don't divide among ranks included, against one on a CPU.
class NcclTraining : public testing::TestWithParam<GangCase> {};

TEST_P(NcclTraining, HasTheBitsOfTheCpu) {
  SingleCommunicator alone;
  DeviceTraining cpu(5), one(5);
  ASSERT_TRUE(cpu.run_on_cpu(&alone).is_ok());
  ASSERT_TRUE(one.run_on_device(&alone).is_ok());
  FakeNccl nccl;
  std::vector<std::unique_ptr<DeviceTraining>> trainings;
  for (int rank = 0; rank < GetParam().ranks; ++rank) {
    trainings.push_back(std::make_unique<DeviceTraining>(5));
    trainings.back()->stage = GetParam().stage;
    trainings.back()->records = false;  // the fake's messages can't be launched again
  }
  const Status status =
      run_nccl_gang(GetParam().ranks, &nccl, kPatient, [&](NcclCommunicator& device, Communicator& comm) -> Status {
        return trainings[static_cast<size_t>(comm.rank())]->run_on_device(&comm, &device);
      });
  ASSERT_TRUE(status.is_ok()) << status.to_string();
  EXPECT_THAT(nccl.mistakes(), IsEmpty());
  EXPECT_EQ(nccl.destroyed(), static_cast<size_t>(GetParam().ranks));
  for (const auto& training : trainings) {
    EXPECT_EQ(training->weights, cpu.weights);
    EXPECT_EQ(training->losses, cpu.losses);
    EXPECT_EQ(training->norms, one.norms);  // a device adds up their blocks in an order of its own
  }
  EXPECT_EQ(trainings[0]->m, cpu.m);
  EXPECT_EQ(trainings[0]->v, cpu.v);
}

// Features and gradients of tables that are shared out go over NCCL's schedule, too.
TEST_P(NcclTraining, OfTablesHasTheBitsOfOneRank) {
  if (GetParam().stage != ZeroStage::kOne || GetParam().ranks > 4) GTEST_SKIP() << "tables have no such gangs";
  SingleCommunicator alone;
  TabularDeviceTraining one(shape_of_four(12));
  ASSERT_TRUE(one.run(&alone).is_ok());
  FakeNccl nccl;
  std::vector<std::unique_ptr<TabularDeviceTraining>> trainings;
  for (int rank = 0; rank < GetParam().ranks; ++rank) {
    trainings.push_back(std::make_unique<TabularDeviceTraining>(shape_of_four(12)));
    trainings.back()->records = false;  // the fake's messages can't be launched again
  }
  const Status status =
      run_nccl_gang(GetParam().ranks, &nccl, kPatient, [&](NcclCommunicator& device, Communicator& comm) -> Status {
        return trainings[static_cast<size_t>(comm.rank())]->run(&comm, &device);
      });
  ASSERT_TRUE(status.is_ok()) << status.to_string();
  EXPECT_THAT(nccl.mistakes(), IsEmpty());
  for (const auto& training : trainings) EXPECT_EQ(training->losses, one.losses);
  EXPECT_EQ(trainings[0]->weights, one.weights);
  EXPECT_EQ(trainings[0]->row_sums, one.row_sums);
}

INSTANTIATE_TEST_SUITE_P(Ranks, NcclTraining,
                         testing::Values(GangCase{1, ZeroStage::kOne}, GangCase{2, ZeroStage::kTwo},
                                         GangCase{3, ZeroStage::kOne}, GangCase{3, ZeroStage::kTwo},
                                         GangCase{4, ZeroStage::kOne}),
                         [](const auto& tested) { return tested.param.name(); });

// Where each rank holds one whole subtree, a gradient is sent once, as in a ring, and a total at most once.
TEST(NcclCommunicator, SendsEachGradientAndEachTotalOnce) {
  FakeNccl nccl;
  const Status status = run_nccl_gang(4, &nccl, kPatient, [&](NcclCommunicator& device, Communicator&) -> Status {
    ASSIGN_OR_RETURN(auto reducer, DeviceReducer::create(&device, kParameters, 8, kBuckets, ZeroStage::kOne));
    ASSIGN_OR_RETURN(Stream stream, Stream::create());
    ASSIGN_OR_RETURN(Event done, Event::create());
    std::vector<Array<float>> kept;
    kept.reserve(8);
    const Array<float> total(kParameters);
    RETURN_IF_ERROR(reduce_step(8, total, &reducer, &kept, &stream));
    RETURN_IF_ERROR(done.record(stream.get()));
    return device.wait(done, 1);
  });
  ASSERT_TRUE(status.is_ok()) << status.to_string();
  // Group 0 is the first contact; then come sums and totals, bucket by bucket.
  size_t sums = 0, totals = 0;
  for (const auto& message : nccl.messages()) {
    if (message.group > 0) (message.group % 2 == 1 ? sums : totals) += message.bytes;
  }
  EXPECT_EQ(sums, 3 * kParameters * sizeof(float));
  EXPECT_GT(totals, 0U);
  EXPECT_LE(totals, kParameters * sizeof(float));
}

// What the fake is for: NCCL itself would wait for ever, or write what nobody asked for.
TEST(FakeNccl, FindsASendThatIsNotReceived) {
  FakeNccl nccl;
  const Status status = run_nccl_gang(2, &nccl, kPatient, [](NcclCommunicator& device, Communicator& comm) -> Status {
    ASSIGN_OR_RETURN(Stream stream, Stream::create());
    const Array<float> values(2);
    const Bytes bytes = std::as_bytes(std::span(values.data(), 2));
    const MutableBytes room = std::as_writable_bytes(std::span(values.data(), 2));
    if (comm.rank() == 0) {
      RETURN_IF_ERROR(
          device.exchange("too short", {Bytes(), bytes.first(4)}, {MutableBytes(), MutableBytes()}, &stream));
      RETURN_IF_ERROR(device.exchange("unasked", {Bytes(), bytes}, {MutableBytes(), MutableBytes()}, &stream));
    } else {
      RETURN_IF_ERROR(device.exchange("too short", {Bytes(), Bytes()}, {room, MutableBytes()}, &stream));
      RETURN_IF_ERROR(device.exchange("unasked", {Bytes(), Bytes()}, {MutableBytes(), MutableBytes()}, &stream));
    }
    return comm.barrier();
  });
  EXPECT_TRUE(status.is_ok()) << status.to_string();
  EXPECT_THAT(nccl.mistakes(), ElementsAre("group 1: what rank 0 sends is not what 1 receives",
                                           "group 2: what rank 0 sends is not what 1 receives"));
}

TEST(FakeNccl, FindsWhatNcclForbids) {
  FakeNccl nccl;
  NcclId id{};
  NcclComm* comm = nullptr;
  std::byte byte{};
  EXPECT_EQ(nccl.get_unique_id(&id), NcclResult::kSuccess);
  EXPECT_EQ(nccl.comm_init_rank(&comm, 2, id, 0), NcclResult::kInProgress);
  EXPECT_EQ(nccl.send(&byte, 1, 1, comm, nullptr), NcclResult::kInvalidUsage);
  EXPECT_EQ(nccl.group_start(), NcclResult::kSuccess);
  EXPECT_EQ(nccl.send(&byte, 1, 1, comm, nullptr), NcclResult::kInvalidUsage);
  EXPECT_EQ(nccl.comm_destroy(comm), NcclResult::kInvalidUsage);
  EXPECT_THAT(nccl.mistakes(),
              ElementsAre("a message outside of a group", "a message while the communicator is not ready",
                          "destroy before finalize was done"));
}

// What every rank does in the tests below: three exchanges, then a wait for all of them as step 57.
Status three_exchanges(NcclCommunicator& device, Communicator& comm) {
  const auto ranks = static_cast<size_t>(device.size()), me = static_cast<size_t>(device.rank());
  ASSIGN_OR_RETURN(Stream stream, Stream::create());
  ASSIGN_OR_RETURN(Event done, Event::create());
  const Array<float> values(std::vector<float>(ranks, static_cast<float>(me)));
  std::vector<MutableBytes> all;
  for (size_t rank = 0; rank < ranks; ++rank) all.push_back(std::as_writable_bytes(std::span(values.data() + rank, 1)));
  device.begin_step();
  RETURN_IF_ERROR(device.all_gather("losses", all[me], all, &stream));
  RETURN_IF_ERROR(stream.synchronize());  // the device is here
  RETURN_IF_ERROR(device.all_gather("norms", all[me], all, &stream));
  RETURN_IF_ERROR(device.all_gather("weights", all[me], all, &stream));
  RETURN_IF_ERROR(done.record(stream.get()));
  const Status waited = device.wait(done, 57);
  (void)comm.barrier();  // freeing memory does the work of all streams, also of those that hang
  RETURN_IF_ERROR(waited);
  for (size_t rank = 0; rank < ranks; ++rank) {
    if (values.values()[rank] != static_cast<float>(rank)) return corrupt("all_gather");
  }
  return Status::ok();
}

TEST(NcclCommunicator, TellsHowFarItIs) {
  FakeNccl nccl;
  const Status status = run_nccl_gang(3, &nccl, kPatient, [](NcclCommunicator& device, Communicator& comm) -> Status {
    RETURN_IF_ERROR(three_exchanges(device, comm));
    const CollectiveProgress at = device.progress();
    EXPECT_EQ(at.step, 57U);
    EXPECT_EQ(at.left.number, 3U);
    EXPECT_EQ(at.left.operation, "weights");
    EXPECT_FALSE(at.is_within());
    return Status::ok();
  });
  EXPECT_TRUE(status.is_ok()) << status.to_string();
  EXPECT_THAT(nccl.mistakes(), IsEmpty());
}

// The errors of all ranks of a gang, each of which goes on after it as a rank does: it asks again, and ends.
std::vector<std::string> errors_of(int ranks, FakeNccl* nccl) {
  std::vector<std::string> errors(static_cast<size_t>(ranks));
  const Status status =
      run_nccl_gang(ranks, nccl, kImpatient, [&](NcclCommunicator& device, Communicator& comm) -> Status {
        const Status found = three_exchanges(device, comm);
        errors[static_cast<size_t>(comm.rank())] = found.to_string();
        EXPECT_EQ(three_exchanges(device, comm).to_string(), found.to_string()) << "the same again";
        return found;
      });
  EXPECT_FALSE(status.is_ok());
  EXPECT_THAT(nccl->mistakes(), IsEmpty());
  EXPECT_EQ(nccl->aborted(), static_cast<size_t>(ranks));
  return errors;
}

// Group 0 is the first contact, so group 2 is the second collective of the step.
TEST(NcclCommunicator, AHangNamesTheRankThatIsBehind) {
  FakeNccl nccl;
  nccl.hang_at(1, 2);
  const std::string within = "step 57, in collective 2 (norms): not done within 100 ms";
  EXPECT_THAT(errors_of(3, &nccl),
              ElementsAre("deadline: NCCL, rank 0 of 3, " + within,
                          "deadline: NCCL, rank 1 of 3, step 57, behind collective 1 (losses): not done within 100 ms",
                          "deadline: NCCL, rank 2 of 3, " + within));
}

TEST(NcclCommunicator, AnAsynchronousErrorEndsTheWait) {
  FakeNccl nccl;
  for (int rank = 0; rank < 2; ++rank) nccl.fail_at(rank, 3, NcclResult::kRemoteError);
  for (const auto& error : errors_of(2, &nccl)) {
    EXPECT_THAT(error, testing::StartsWith("unavailable: NCCL, rank "));
    EXPECT_THAT(error, testing::EndsWith(": fake error 6"));
  }
}

TEST(NcclCommunicator, ARankThatEndsEndsTheOthers) {
  FakeNccl nccl;
  const Status status = run_nccl_gang(3, &nccl, kImpatient, [](NcclCommunicator& device, Communicator& comm) -> Status {
    if (comm.rank() == 1) return resource_exhausted("no memory");
    const Status lost = three_exchanges(device, comm);
    EXPECT_EQ(lost.code(), Code::kDeadline);
    return unavailable("lost a rank");
  });
  EXPECT_FALSE(status.is_ok());
  EXPECT_THAT(nccl.mistakes(), IsEmpty());
  EXPECT_EQ(nccl.aborted(), 3U);
}

TEST(NcclCommunicator, ARankThatCannotJoinIsNamedToAll) {
  FakeNccl nccl;
  nccl.refuse(1);
  std::vector<std::string> errors(2);
  const NcclOptions options{Duration::millis(100), Duration::millis(100)};
  const Status status = run_thread_gang(2, [&](Communicator& comm) -> Status {
    auto made = NcclCommunicator::create(&nccl, &comm, &kClock, options);
    errors[static_cast<size_t>(comm.rank())] = made.status().message();
    return made.status();
  });
  EXPECT_FALSE(status.is_ok());
  EXPECT_THAT(errors, ElementsAre("NCCL, rank 0 of 2, step 0, before any collective: joining the other ranks took "
                                  "longer than 100 ms: a rank is missing",
                                  "NCCL, rank 1 of 2, step 0, before any collective: joining the other ranks: fake "
                                  "error 2"));
  EXPECT_THAT(nccl.mistakes(), IsEmpty());
  EXPECT_EQ(nccl.aborted(), nccl.joined());
}

TEST(NcclGang, KeepsItsCommunicatorWhileItIsWell) {
  FakeNccl nccl;
  const Status status = run_thread_gang(2, [&](Communicator& comm) -> Status {
    NcclGang gang(&nccl, &kClock, kPatient);
    for (int attempt = 0; attempt < 3; ++attempt) {
      ASSIGN_OR_RETURN(NcclCommunicator * device, gang.join(&comm));
      RETURN_IF_ERROR(three_exchanges(*device, comm));
    }
    RETURN_IF_ERROR(comm.barrier());
    if (nccl.joined() != 2) return corrupt("joined " + std::to_string(nccl.joined()) + " times");
    return gang.finish();
  });
  EXPECT_TRUE(status.is_ok()) << status.to_string();
  EXPECT_THAT(nccl.mistakes(), IsEmpty());
  EXPECT_EQ(nccl.destroyed(), 2U);
}

// One rank's communicator is broken and the other has not noticed: both join again.
TEST(NcclGang, JoinsAgainWhereOneRankMust) {
  FakeNccl nccl;
  nccl.fail_at(0, 1, NcclResult::kSystemError);
  const Status status = run_thread_gang(2, [&](Communicator& comm) -> Status {
    NcclGang gang(&nccl, &kClock, kImpatient);
    ASSIGN_OR_RETURN(Stream stream, Stream::create());
    ASSIGN_OR_RETURN(Event done, Event::create());
    ASSIGN_OR_RETURN(NcclCommunicator * device, gang.join(&comm));
    const Array<float> values(2);
    std::vector<MutableBytes> all;
    for (size_t i = 0; i < 2; ++i) all.push_back(std::as_writable_bytes(std::span(values.data() + i, 1)));
    RETURN_IF_ERROR(device->all_gather("losses", all[static_cast<size_t>(comm.rank())], all, &stream));
    RETURN_IF_ERROR(done.record(stream.get()));
    if (comm.rank() == 0 && device->wait(done, 1).is_ok()) return corrupt("the error was not seen");
    RETURN_IF_ERROR(comm.barrier());
    if (comm.rank() == 0) nccl.heal();
    RETURN_IF_ERROR(comm.barrier());
    ASSIGN_OR_RETURN(device, gang.join(&comm));
    RETURN_IF_ERROR(three_exchanges(*device, comm));
    return gang.finish();
  });
  EXPECT_TRUE(status.is_ok()) << status.to_string();
  EXPECT_THAT(nccl.mistakes(), IsEmpty());
  EXPECT_EQ(nccl.joined(), 4U);
  EXPECT_EQ(nccl.destroyed(), 2U);
}

TEST(NcclGang, JoinsAgainAfterAnError) {
  FakeNccl nccl;
  nccl.hang_at(1, 2);
  const Status status = run_thread_gang(2, [&](Communicator& comm) -> Status {
    NcclGang gang(&nccl, &kClock, kImpatient);
    ASSIGN_OR_RETURN(NcclCommunicator * device, gang.join(&comm));
    if (three_exchanges(*device, comm).code() != Code::kDeadline) return corrupt("the hang was not seen");
    RETURN_IF_ERROR(comm.barrier());
    if (comm.rank() == 0) nccl.heal();
    RETURN_IF_ERROR(comm.barrier());
    ASSIGN_OR_RETURN(device, gang.join(&comm));
    RETURN_IF_ERROR(three_exchanges(*device, comm));
    return gang.finish();
  });
  EXPECT_TRUE(status.is_ok()) << status.to_string();
  EXPECT_THAT(nccl.mistakes(), IsEmpty());
  EXPECT_EQ(nccl.joined(), 4U);
  EXPECT_EQ(nccl.aborted(), 2U);
  EXPECT_EQ(nccl.destroyed(), 2U);
}

}  // namespace
}  // namespace freshet::worker
