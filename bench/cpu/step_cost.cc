// What reproducible sums cost a training: ranks under mpirun make steps of a gpt, in turns with the fixed tree and the
// sharded optimizer as trainings have them, and with MPI_Allreduce and the whole optimizer on every rank, which exists
// only here. A line of JSON: the median seconds of a step each way.
#include <mpi.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <span>
#include <vector>

#include "bench/gpt_options.h"
#include "kernels/reduce.h"
#include "worker/comm/mpi.h"
#include "worker/comm/reduce.h"
#include "worker/train/flat_update.h"

namespace freshet::worker {
namespace {

// One rank, one thread, one micro-batch a step.
class Training {
 public:
  Training(const GptOptions& options, GptModel model, Communicator* comm)
      : options_(options),
        model_(std::move(model)),
        ranks_(static_cast<size_t>(comm->size())),
        reducer_(comm, model_.parameters(), ranks_),
        weights_(model_.parameters()),
        gradient_(weights_.size()),
        m_(weights_.size()),
        v_(weights_.size()),
        block_sums_((weights_.size() + kernels::kBlock - 1) / kernels::kBlock),
        decayed_(decayed_ranges(model_.tensors())),
        workspace_(model_, options.batch * options.length, true) {
    model_.initialise(1, weights_.data());
    tokens_ = gpt_corpus(options.batch * options.length + 1, options.model.vocabulary);
  }

  Status tree_step() {
    RETURN_IF_ERROR(backward());
    ASSIGN_OR_RETURN(const float* sum, reducer_.reduce(ranks_, {gradient_.data()}));
    const Range own = reducer_.segment();
    update(own, sum);
    return reducer_.all_gather(weights_.data());
  }

  Status plain_step() {
    RETURN_IF_ERROR(backward());
    MPI_Allreduce(MPI_IN_PLACE, gradient_.data(), static_cast<int>(gradient_.size()), MPI_FLOAT, MPI_SUM,
                  MPI_COMM_WORLD);
    update({0, weights_.size()}, gradient_.data());
    return Status::ok();
  }

 private:
  Status backward() {
    GptBatch batch;
    batch.sequences = options_.batch;
    batch.length = options_.length;
    batch.tokens = tokens_.data();
    batch.targets = tokens_.data() + 1;
    const float scale = 1.0F / static_cast<float>(batch.rows() * ranks_);
    return model_.forward_backward(batch, scale, {weights_.data(), nullptr}, gradient_.data(), &pool_, &workspace_)
        .status();
  }

  // Of the elements of `range`, whose gradient begins at `gradient`.
  void update(Range range, const float* gradient) {
    kernels::AdamWStep adamw;
    adamw.learning_rate = 1e-4F;
    block_sums_of_squares(range.size(), gradient, block_sums_.data(), &pool_);
    const size_t blocks = (range.size() + kernels::kBlock - 1) / kernels::kBlock;
    adamw.gradient_scale = clipping_factor(norm_of(std::span<const double>(block_sums_).first(blocks)), 1);
    kernels::set_corrections(++steps_, &adamw);
    update_weights(
        adamw,
        {range, gradient, weights_.data() + range.begin, m_.data() + range.begin, v_.data() + range.begin, nullptr},
        decayed_, &pool_);
  }

  const GptOptions options_;
  const GptModel model_;
  const size_t ranks_;
  TreeReducer reducer_;
  std::vector<float> weights_, gradient_, m_, v_;
  std::vector<double> block_sums_;
  const std::vector<Range> decayed_;
  std::vector<int32_t> tokens_;
  ThreadPool pool_{1};
  GptModel::Workspace workspace_;
  uint64_t steps_ = 0;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

Status run(GptOptions options) {
  RETURN_IF_ERROR(options.complete());
  MpiCommunicator comm(mpi_place());
  RETURN_IF_ERROR(comm.start());
  ASSIGN_OR_RETURN(auto model, GptModel::create(options.model));
  Training training(options, std::move(model), &comm);
  std::vector<double> tree, plain;
  for (size_t step = 0; step <= options.steps; ++step) {
    for (auto* seconds : {&tree, &plain}) {
      MPI_Barrier(MPI_COMM_WORLD);
      const auto began = std::chrono::steady_clock::now();
      RETURN_IF_ERROR(seconds == &tree ? training.tree_step() : training.plain_step());
      MPI_Barrier(MPI_COMM_WORLD);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
      if (step > 0) seconds->push_back(took.count());
    }
  }
  if (comm.rank() == 0) std::printf("{\"tree\": %.6f, \"plain\": %.6f}\n", median(tree), median(plain));
  return comm.finish();
}

}  // namespace
}  // namespace freshet::worker

int main(int argc, char** argv) {
  freshet::worker::GptOptions options;
  options.steps = 5;
  CLI::App app("Measures what reproducible sums cost a training step; start it under mpirun.");
  options.add_to(&app);
  CLI11_PARSE(app, argc, argv);
  const freshet::Status status = freshet::worker::run(options);
  if (status.is_ok()) return 0;
  std::fprintf(stderr, "step_cost: %s\n", status.message().c_str());
  return 1;
}
