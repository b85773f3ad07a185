// The tabular model (model/tabular.h) on a GPU: forward and backward of a micro-batch and the training of its tables,
// queued on a stream. The dense parameters come in as bfloat16 and their gradient goes out as float, flat, as
// TabularModel::dense_tensors() says; the tables and AdaGrad's sums are this object's, in float (DeviceEmbeddings).
// Activations and their gradients are bfloat16, all sums, the logits and the losses wider: mixed precision as PyTorch's
// autocast has it, with a range that needs no loss scaling. Nothing is allocated after create(), and what differs
// between micro-batches lies in their input, so that the work can be recorded as a graph. One object per rank; one
// stream at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/status.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/dot_interaction.h"
#include "kernels/cuda/products.h"
#include "worker/gpu/device_embeddings.h"
#include "worker/model/tabular.h"

namespace freshet::worker {

class TabularDevice {
 public:
  // The model outlives it; so do the products, which are used on the caller's thread. resource_exhausted when it does
  // not fit. The tables are zero.
  static Result<TabularDevice> create(const TabularModel& model, const DeviceEmbeddingsOptions& options,
                                      cuda::Products* products);

  // invalid_argument, with the reason, for a model that create() takes and whose passes the kernels refuse.
  static Status check(const TabularModel& model, size_t rows, size_t slots);

  // All matrix products of a pass over so many rows, ascending, each once: what the command that tunes asks for.
  static std::vector<cuda::ProductShape> products_of(const TabularModel& model, size_t rows);

  const TabularModel& model() const { return *model_; }
  size_t rows() const { return rows_; }
  size_t slots() const { return slots_; }
  // Its tables are a feature each.
  DeviceEmbeddings* embeddings() { return &*embeddings_; }
  const DeviceEmbeddings* embeddings() const { return &*embeddings_; }
  // Device memory for all else.
  size_t workspace_bytes() const { return workspace_.bytes(); }

  // Bytes that tell the device of a micro-batch.
  size_t input_bytes() const { return input_.bytes; }
  // Fills `input` with up to rows() rows, which have labels; `slot` is below slots(), another for each micro-batch
  // between two updates. `scale`: what the gradient of the sum of the losses is multiplied by. invalid_argument for
  // more codes than bag_codes_max. Any thread.
  Status fill_input(const TabularBatch& batch, float scale, uint32_t slot, std::byte* input) const;

  // Queues, for the micro-batch of `input` (device memory, on a border of 256 bytes): the sum of its losses in *loss,
  // the gradient of that sum times its scale in `gradient` (overwritten), and keeps the gradient of the features.
  Status forward_backward(const std::byte* input, const kernels::Bfloat16* weights, float* gradient, double* loss,
                          cuda::Stream* stream);

 private:
  using Bfloat16 = kernels::Bfloat16;

  // A matrix [outputs][inputs] of the dense parameters. Products want rows on borders of 16 bytes; a matrix that has
  // none is copied into one whose rows are filled up with zeros, and its gradient back out of one.
  struct Matrix {
    size_t inputs = 0, outputs = 0;
    size_t in_stride = 0, out_stride = 0;  // the widths, filled up to multiples of 8
    size_t offset = 0;                     // in the dense parameters
    bool is_copied = false;
    size_t copy = 0;           // bytes into the workspace, where it is copied
    size_t gradient_copy = 0;  // likewise
  };
  struct Layer {
    Matrix weight;
    size_t bias = 0;    // in the dense parameters
    size_t output = 0;  // bytes into the workspace: [rows][out_stride]
    // Whether products add the bias and sum its gradient: it begins on a border of 16 bytes and fills a row.
    bool is_fused = false;
  };
  struct CrossLayer {
    Matrix weight;    // of rank 0
    Matrix down, up;  // else
    size_t bias = 0;
    size_t map = 0, low = 0, output = 0;  // bytes into the workspace
  };
  // Bytes into an input.
  struct Input {
    size_t scale = 0, slot = 0, label = 0, weight = 0, numeric = 0, words = 0;
    size_t bytes = 0;
  };
  // What a pass works with.
  struct Pass {
    const std::byte* input;
    const Bfloat16* weights;
    float* gradient;
    cuda::CudaStream stream;
  };

  TabularDevice() = default;
  Matrix matrix(const std::string& name) const;
  size_t offset_of(const std::string& name) const;
  void describe_layers();
  void describe_input();
  Status plan_memory();

  template <class T = Bfloat16>
  T* at(size_t place) const {
    return reinterpret_cast<T*>(workspace_.data() + place);
  }
  const Bfloat16* matrix_at(const Matrix& matrix, const Pass& pass) const {
    return matrix.is_copied ? at(matrix.copy) : pass.weights + matrix.offset;
  }
  std::vector<Matrix*> matrices();
  size_t numeric_column() const { return model_->feature_width() - numeric_width_; }

  const int32_t* words_of(const Pass& pass) const {
    return reinterpret_cast<const int32_t*>(pass.input + input_.words);
  }
  const uint32_t* slot_of(const Pass& pass) const {
    return reinterpret_cast<const uint32_t*>(pass.input + input_.slot);
  }
  Status copy_weights(const Pass& pass);
  Status copy_gradients(const Pass& pass);
  // y = x w^T; dx = dy w, or dx += dy w; dw = dy^T x.
  cuda::ProductShape forward_product(const Matrix& matrix, cuda::Type type, cuda::Epilogue epilogue) const;
  cuda::ProductShape input_gradient_product(const Matrix& matrix, bool accumulate, cuda::Epilogue epilogue) const;
  cuda::ProductShape weight_gradient_product(const Matrix& matrix) const;
  Status multiply(const Matrix& matrix, const Bfloat16* x, void* y, cuda::Type type, const Pass& pass,
                  const Bfloat16* relu_bias = nullptr);
  // `below`: the layer whose output dx is the gradient of; if it is fused, dx becomes that of what went into its relu.
  Status multiply_back(const Matrix& matrix, const Bfloat16* dy, Bfloat16* dx, bool accumulate, const Pass& pass,
                       const Layer* below = nullptr);
  Status weight_gradient(const Matrix& matrix, const Bfloat16* dy, const Bfloat16* x, const Pass& pass);

  Status gather_features(const Pass& pass);
  // What the product of the gradient of a layer's input ends with.
  static cuda::Epilogue gradient_below(const Layer* below);
  Status layers_forward(const std::vector<Layer>& layers, bool last_is_linear, const Bfloat16* input, const Pass& pass);
  Status cross_forward(const Pass& pass);
  Status dot_forward(const Pass& pass);
  Status loss(const Pass& pass, double* loss);
  // From the gradient of the last layer's output in *gradient to that of `input`, if it is wanted; the two change
  // places as they are used.
  Status layers_backward(const std::vector<Layer>& layers, bool last_is_linear, const Bfloat16* input, bool want_input,
                         Bfloat16** gradient, Bfloat16** spare, const Pass& pass);
  Status cross_backward(Bfloat16* dy, const Pass& pass);
  Status feature_backward(Bfloat16* gradient, Bfloat16* spare, const Pass& pass);
  const Bfloat16* interacted() const;
  // Whether anything below the hidden layers learns.
  bool want_features() const;
  cuda::DotShape dot_shape() const;

  const TabularModel* model_ = nullptr;
  size_t rows_ = 0, slots_ = 0;
  cuda::Products* products_ = nullptr;
  std::vector<Layer> numeric_layers_, hidden_layers_;
  std::vector<CrossLayer> cross_layers_;
  size_t feature_stride_ = 0;
  size_t numeric_width_ = 0, numeric_stride_ = 0;  // of the features
  size_t interaction_stride_ = 0;                  // kDot
  Input input_;
  // Bytes into the workspace.
  struct Places {
    size_t features = 0, numeric_input = 0, interaction = 0;
    size_t gradient = 0, spare = 0, feature_gradient = 0;
    size_t losses = 0, sums = 0;
  };
  Places places_;
  cuda::DeviceMemory workspace_;
  std::optional<DeviceEmbeddings> embeddings_;
};

}  // namespace freshet::worker
