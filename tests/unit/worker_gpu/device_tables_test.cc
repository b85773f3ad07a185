#include "worker/gpu/device_tables.h"

#include <gmock/gmock.h>

#include <numeric>

#include "tests/unit/kernels_cuda/support.h"
#include "tests/unit/worker_gpu/thread_gang.h"

namespace freshet::worker {
namespace {

using testing::ElementsAre;

std::vector<TensorView> tables_of(const std::vector<std::pair<uint64_t, uint64_t>>& shapes) {
  std::vector<TensorView> tensors;
  size_t offset = 0;
  for (const auto& [rows, dim] : shapes) {
    tensors.push_back({"table", {rows, dim}, offset, rows * dim});
    offset += rows * dim;
  }
  return tensors;
}

std::vector<int> owners_of(const std::vector<std::pair<uint64_t, uint64_t>>& shapes, int ranks) {
  const auto made = DeviceTables::create(tables_of(shapes), ranks, 0);
  CHECK(made.is_ok());
  std::vector<int> owners;
  for (size_t t = 0; t < made->tables(); ++t) owners.push_back(made->owner(t));
  return owners;
}

using DeviceTablesTest = cuda::CudaTest;

TEST_F(DeviceTablesTest, TheLargestGoFirstToWhoHasLeast) {
  EXPECT_THAT(owners_of({{10, 4}, {30, 4}, {20, 4}}, 1), ElementsAre(0, 0, 0));
  EXPECT_THAT(owners_of({{10, 4}, {30, 4}, {20, 4}}, 2), ElementsAre(1, 0, 1));
  EXPECT_THAT(owners_of({{10, 4}, {30, 4}, {20, 4}}, 4), ElementsAre(2, 0, 1)) << "the fourth has none";
  EXPECT_THAT(owners_of({{8, 4}, {8, 4}, {8, 4}, {8, 4}}, 3), ElementsAre(0, 1, 2, 0));
}

TEST_F(DeviceTablesTest, EachHoldsItsOwnAndAllReachRankZero) {
  const auto tensors = tables_of({{10, 4}, {30, 3}, {20, 5}, {1, 1}});
  std::vector<float> all(tensors.back().offset + tensors.back().size);
  std::iota(all.begin(), all.end(), 1.0F);
  for (int ranks : {1, 2, 3, 5}) {
    EXPECT_OK(run_thread_gang(ranks, [&](Communicator& comm) -> Status {
      ASSIGN_OR_RETURN(auto stream, cuda::Stream::create());
      ASSIGN_OR_RETURN(DeviceTables tables, DeviceTables::create(tensors, comm.size(), comm.rank()));
      EXPECT_EQ(tables.elements(), all.size());
      EXPECT_EQ(tables.rows(), 61U);
      RETURN_IF_ERROR(tables.start(all.data(), &stream));
      // A snapshot of what is queued, which changes behind it.
      TrainingSnapshot snapshot;
      RETURN_IF_ERROR(tables.snapshot(stream, &snapshot));
      RETURN_IF_ERROR(tables.wait_for_snapshot(&stream));
      std::vector<float> host(tables.bytes() / sizeof(float), 0.5F);
      RETURN_IF_ERROR(tables.load(host.data(), &stream));
      RETURN_IF_ERROR(snapshot.wait());
      for (size_t t = 0; t < tensors.size(); ++t) {
        const TableMemory& table = snapshot.tables[t];
        const bool is_own = tables.owner(t) == comm.rank();
        EXPECT_EQ(table.rows.size(), is_own ? tensors[t].shape[0] : 0);
        EXPECT_EQ(tables.values(t) != nullptr, is_own);
        if (!is_own) continue;
        EXPECT_EQ(table.values.size(), tensors[t].size);
        EXPECT_EQ(table.values[0], all[tensors[t].offset]);
        EXPECT_EQ(table.values.back(), all[tensors[t].offset + tensors[t].size - 1]);
        EXPECT_EQ(table.sums.back(), 0);
      }
      // What was copied goes back.
      std::vector<TableMemory> view = tables.view(host.data());
      for (size_t t = 0; t < view.size(); ++t) {
        std::ranges::copy(snapshot.tables[t].values, view[t].values.begin());
        std::iota(view[t].sums.begin(), view[t].sums.end(), static_cast<float>(t));
      }
      RETURN_IF_ERROR(tables.load(host.data(), &stream));
      std::vector<float> values(comm.rank() == 0 ? all.size() : 0), sums(comm.rank() == 0 ? tables.rows() : 0);
      RETURN_IF_ERROR(tables.gather_values(&comm, &stream, values.data()));
      RETURN_IF_ERROR(tables.gather_sums(&comm, &stream, sums.data()));
      if (comm.rank() != 0) return Status::ok();
      EXPECT_EQ(values, all);
      EXPECT_EQ(sums[9], 9);
      EXPECT_EQ(sums[10], 1);
      EXPECT_EQ(sums[60], 3);
      return Status::ok();
    }));
  }
}

}  // namespace
}  // namespace freshet::worker
