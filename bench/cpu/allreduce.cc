// Two or more ranks under mpirun add up arrays, in turns by the reproducible tree (reduce to the owner of a segment,
// then all_gather) and by MPI_Allreduce, for bench/cpu/main.py. A line of JSON per size: the median seconds of each.
#include <mpi.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "worker/comm/mpi.h"
#include "worker/comm/reduce.h"

namespace freshet::worker {
namespace {

double seconds_of(const std::function<void()>& work) {
  MPI_Barrier(MPI_COMM_WORLD);
  const auto began = std::chrono::steady_clock::now();
  work();
  MPI_Barrier(MPI_COMM_WORLD);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// What a rank holds; the total is the same by both ways up to rounding.
void fill(int rank, std::vector<float>* values) {
  for (size_t i = 0; i < values->size(); ++i)
    (*values)[i] = static_cast<float>((i + 7) % 1013) / 1013 + static_cast<float>(rank);
}

Status measure(MpiCommunicator* comm, size_t mebibytes, int rounds) {
  const size_t count = (mebibytes << 20) / sizeof(float);
  const auto ranks = static_cast<size_t>(comm->size());
  TreeReducer reducer(comm, count, ranks);
  std::vector<float> mine(count), total(count);
  std::vector<double> tree, library;
  Status status;
  for (int round = 0; round <= rounds; ++round) {
    fill(comm->rank(), &mine);
    library.push_back(seconds_of([&] {
      MPI_Allreduce(mine.data(), total.data(), static_cast<int>(count), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    }));
    tree.push_back(seconds_of([&] {
      auto reduced = reducer.reduce(ranks, {mine.data()});
      status = reduced.status();
      if (!status.is_ok()) return;
      const Range own = reducer.segment();
      std::copy_n(*reduced, own.size(), mine.data() + own.begin);
      status = reducer.all_gather(mine.data());
    }));
    RETURN_IF_ERROR(status);
    for (size_t i = 0; i < count; i += 4099) {
      if (std::abs(mine[i] - total[i]) > 1e-5F * std::abs(total[i])) return internal("the sums differ");
    }
  }
  tree.erase(tree.begin());  // warm-up
  library.erase(library.begin());
  if (comm->rank() == 0) {
    std::printf("{\"mebibytes\": %zu, \"tree\": %.6f, \"mpi\": %.6f}\n", mebibytes, median(tree), median(library));
    std::fflush(stdout);
  }
  return Status::ok();
}

Status run(int rounds, const std::vector<size_t>& sizes) {
  MpiCommunicator comm(mpi_place());
  RETURN_IF_ERROR(comm.start());
  for (size_t mebibytes : sizes) RETURN_IF_ERROR(measure(&comm, mebibytes, rounds));
  return comm.finish();
}

}  // namespace
}  // namespace freshet::worker

int main(int argc, char** argv) {
  int rounds = 5;
  std::vector<size_t> sizes = {16, 64, 256};
  CLI::App app("Measures the reproducible all-reduce beside MPI_Allreduce; start it under mpirun.");
  app.add_option("--rounds", rounds)->capture_default_str();
  app.add_option("--mebibytes", sizes)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const freshet::Status status = freshet::worker::run(rounds, sizes);
  if (status.is_ok()) return 0;
  std::fprintf(stderr, "allreduce: %s\n", status.message().c_str());
  return 1;
}
