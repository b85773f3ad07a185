// The gpt model: a decoder-only transformer of either style (gpt_config.h). The object is the architecture; the
// parameters are one flat float array that the caller owns, with named tensors in it. Immutable; any thread, with a
// Workspace of its own for each micro-batch that is worked on at a time. A call spreads the tiles of one micro-batch
// over a pool; its bits depend on the parameters and the tokens only, not on the threads. A pool of one thread is how
// several micro-batches are worked on side by side.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "worker/checkpoint/tensors.h"
#include "worker/model/gpt_config.h"
#include "worker/model/gpt_layout.h"
#include "worker/train/thread_pool.h"

namespace freshet::worker {

struct GptWorkspace;

// Sequences of one length, [sequences][length].
struct GptBatch {
  size_t sequences = 0;
  size_t length = 0;
  const int32_t* tokens = nullptr;
  const int32_t* targets = nullptr;  // the token that follows each; below 0: left out of the loss
  // What dropout's masks are drawn with: the same for the same place in the training, whoever computes it.
  uint64_t dropout_seed = 0;
  uint64_t dropout_step = 0;
  uint64_t first_sequence = 0;  // of this micro-batch, in the global batch

  size_t rows() const { return sequences * length; }
};

// Dropout's masks are drawn behind the embedding (site 0) and on what each half of a layer adds (sites 1 to 2 layers).
inline size_t gpt_dropout_sites(const GptConfig& config) { return 1 + 2 * size_t{config.layers}; }
// kernels::Dropout::stream of a site's mask; its elements are those of [sequence of the global batch][token][width].
uint64_t gpt_dropout_stream(const GptConfig& config, uint64_t step, size_t site);

// The parameters in the forms that the products take them in.
struct GptParameters {
  const float* values = nullptr;
  const uint16_t* bfloat16 = nullptr;  // the same, rounded (round_parameters); needed where config().rounds_operands()
};

class GptModel {
 public:
  // What one micro-batch needs, up to `rows_max` tokens; keeps its memory. `training`: for forward_backward too.
  class Workspace {
   public:
    Workspace(const GptModel& model, size_t rows_max, bool training);
    ~Workspace();
    Workspace(Workspace&&) noexcept;
    size_t bytes() const;

   private:
    friend class GptModel;
    std::unique_ptr<GptWorkspace> parts_;
  };

  // invalid_argument: what in the configuration does not fit.
  static Result<GptModel> create(const GptConfig& config);

  const GptConfig& config() const { return config_; }
  const GptLayout& layout() const { return layout_; }
  const std::vector<TensorView>& tensors() const { return layout_.tensors; }
  size_t parameters() const { return layout_.parameters; }

  // As GPT-2 was: normal with deviation 0.02, what a layer adds to the residual smaller by sqrt(2 layers); norms one,
  // biases zero. Each element is a pure function of (seed, tensor's name, element's index).
  void initialise(uint64_t seed, float* parameters) const;

  // Fills `rounded`, as long as the parameters.
  void round_parameters(const float* parameters, uint16_t* rounded, ThreadPool* pool) const;

  // Whether tokens are in the vocabulary, targets below it, and a sequence no longer than the context.
  Status check_batch(const GptBatch& batch) const;

  // The SUM of the cross entropy over the tokens that have a target, without dropout.
  Result<double> loss(const GptBatch& batch, const GptParameters& parameters, ThreadPool* pool,
                      Workspace* workspace) const;

  // The same with dropout, and in `gradient` (as long as the parameters, overwritten) the gradient of that sum times
  // `scale`.
  Result<double> forward_backward(const GptBatch& batch, float scale, const GptParameters& parameters, float* gradient,
                                  ThreadPool* pool, Workspace* workspace) const;

  // The logits after the last token of each sequence, [sequences][vocabulary]; targets are not looked at.
  Status next_token_logits(const GptBatch& batch, const GptParameters& parameters, float* logits, ThreadPool* pool,
                           Workspace* workspace) const;

 private:
  explicit GptModel(const GptConfig& config) : config_(config), layout_(config) {}

  GptConfig config_;
  GptLayout layout_;
};

}  // namespace freshet::worker
