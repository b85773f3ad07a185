// What a training makes smaller: the loss of a model on its examples. The trainer knows neither models nor data, only
// this. One object per rank, which owns what its threads need; forward_backward() runs on several threads at a time,
// all else on the trainer's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "worker/checkpoint/tensors.h"
#include "worker/train/thread_pool.h"

namespace freshet::worker {

class EmbeddingTables;

// The examples of one forward and backward pass.
struct MicroBatch {
  std::span<const uint32_t> examples;
  uint64_t step = 0;           // of the training, from 1
  uint64_t first = 0;          // where its first example stands in the step's global batch
  ThreadPool* pool = nullptr;  // nobody else's meanwhile: one thread, or all where the objective uses_pool()
};

class Objective {
 public:
  virtual ~Objective() = default;

  virtual size_t parameters() const = 0;
  virtual size_t examples() const = 0;
  // What the parameters are.
  virtual const std::vector<TensorView>& tensors() const = 0;

  // Whether one micro-batch can be worked on by several threads. Those get the micro-batches that are too few to keep
  // each thread busy with one of its own.
  virtual bool uses_pool() const { return false; }

  // Memory for the parameters as bfloat16, which the trainer keeps equal to the rounded parameters; empty when the
  // objective does not compute with them.
  virtual std::span<uint16_t> rounded() { return {}; }

  // Parameters that the objective trains by itself, beside the flat ones: tables of embeddings. Null: none.
  virtual EmbeddingTables* tables() { return nullptr; }

  // Before the micro-batches of a step: the examples of all those that are this rank's, of which the first stands at
  // `first` in the step's global batch. Collective.
  virtual Status begin_step(std::span<const uint32_t> examples, uint64_t first, ThreadPool* pool) {
    (void)examples, (void)first, (void)pool;
    return Status::ok();
  }

  // The SUM of the loss over these examples, and in `gradient` (as long as the parameters, overwritten) the gradient of
  // that sum times `scale`. `thread` is not used by two calls at a time. The bits depend on the micro-batch and the
  // parameters only.
  virtual Result<double> forward_backward(const MicroBatch& batch, float scale, const float* parameters,
                                          float* gradient, unsigned thread) = 0;

  // After them, unless the step is left out: moves the tables. `leaves`: micro-batches of this batch. Collective.
  virtual Status update_tables(size_t leaves, float learning_rate_factor, ThreadPool* pool) {
    (void)leaves, (void)learning_rate_factor, (void)pool;
    return Status::ok();
  }
};

}  // namespace freshet::worker
