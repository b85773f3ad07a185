// The activations of one micro-batch of a gpt, and what its passes use in between. Internal to worker/model.
#pragma once

#include <memory>
#include <new>
#include <vector>

#include "kernels/bfloat16.h"
#include "kernels/cross_entropy.h"
#include "worker/model/gpt_config.h"

namespace freshet::worker {

// Memory on whole cache lines, not initialised.
template <typename T>
class CacheArray {
 public:
  CacheArray() = default;
  explicit CacheArray(size_t count)
      : size_(count), data_(static_cast<T*>(::operator new[](count * sizeof(T), std::align_val_t{64}))) {}
  T* data() const { return data_.get(); }
  size_t bytes() const { return size_ * sizeof(T); }

 private:
  struct Free {
    void operator()(T* data) const { ::operator delete[](data, std::align_val_t{64}); }
  };
  size_t size_ = 0;
  std::unique_ptr<T, Free> data_;
};

// Rows of activations; beside the floats, their rounded form where products take that.
struct GptRows {
  CacheArray<float> f;
  CacheArray<kernels::Bfloat16> h;
  size_t width = 0;
};

struct GptLayerState {
  GptRows input;   // of the residual stream, before attention
  GptRows normed;  // what attention sees
  GptRows qkv;
  GptRows attended;  // all heads side by side
  GptRows middle;    // of the residual stream, before the feed-forward part
  GptRows normed_middle;
  GptRows hidden;  // before the activation: gate and up side by side, or one
  CacheArray<float> mean, scale, mean_middle, scale_middle;
  CacheArray<float> log_sum;  // [sequence][head][token]
};

struct GptWorkspace {
  GptWorkspace(const GptConfig& config, size_t rows_max, bool training);
  GptLayerState& layer(size_t index) { return layers[index % layers.size()]; }
  size_t bytes() const;

  size_t rows_max;
  bool training;
  std::vector<GptLayerState> layers;  // one for all where nothing is kept for a gradient
  GptRows active;                     // what left the activation
  GptRows added;                      // what a half of a layer adds to the residual stream
  GptRows last, normed_last;          // the residual stream at the end, and its norm
  CacheArray<float> mean_last, scale_last;

  // The head: one chunk of rows at a time.
  CacheArray<float> logits;  // [block][row][column of the block]
  std::vector<kernels::SoftmaxPart> parts;
  std::vector<float> logit, log_sum;
  CacheArray<float> partial;  // of the gradient of normed_last, one for each group of blocks

  // Gradients.
  GptRows d_residual;  // of the residual stream, from the end to the start
  GptRows d_added;     // of what is added to it: the same behind dropout's mask
  GptRows d_normed, d_attended, d_qkv, d_active;
  GptRows d_hidden;  // kLlama; else d_active becomes it in place

  std::vector<int32_t> positions;
  std::vector<float> rope;                                    // table for the whole context
  std::vector<std::vector<float>> scratch;                    // of attention, one a thread
  std::vector<std::vector<kernels::Bfloat16>> block_scratch;  // of the head, one a thread
};

// The head's cuts; they depend on the configuration and on nothing else.
inline constexpr size_t kHeadRows = 256;     // of logits that exist at a time
inline constexpr size_t kHeadColumns = 512;  // of the vocabulary in a block
inline constexpr size_t kHeadGroups = 16;    // blocks are divided among so many partial sums at most

}  // namespace freshet::worker
