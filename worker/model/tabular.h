// The tabular model (tabular_shape.h says what it is made of). The object is the architecture; the parameters are one
// flat float array that the caller owns, with named tensors in it: first the embedding tables, then all else, the dense
// parameters. A training may keep the tables elsewhere (TabularWeights). Immutable; any thread, with a Workspace of its
// own for each. One call works on one micro-batch on the calling thread and its bits depend on the parameters and the
// rows only.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "worker/checkpoint/tensors.h"
#include "worker/data/encoded.h"
#include "worker/model/tabular_batch.h"
#include "worker/model/tabular_shape.h"

namespace freshet::worker {

struct TabularWeights {
  const float* dense = nullptr;
  std::vector<const float*> tables;  // [feature]: [codes][dim]
};

class TabularModel {
 public:
  // What one thread needs for micro-batches of up to `rows_max` rows.
  class Workspace {
   public:
    Workspace(const TabularModel& model, size_t rows_max);

   private:
    friend class TabularModel;
    size_t rows_max;
    TabularBuffer buffer;                       // for rows that are gathered by a call
    std::vector<float> features;                // [row][feature_width]
    std::vector<std::vector<float>> numeric;    // outputs of the numeric layers
    std::vector<std::vector<float>> cross;      // outputs of the cross layers
    std::vector<std::vector<float>> cross_map;  // each layer's linear map of its input, with its bias
    std::vector<std::vector<float>> cross_low;  // that map's lower rank, where there is one
    std::vector<float> interaction;             // kDot: what goes into the hidden layers
    std::vector<std::vector<float>> hidden;     // outputs of the hidden layers, then of the last one
    std::vector<float> gradient, gradient_below, feature_gradient;
    std::vector<int32_t> target;
  };

  // invalid_argument: no features, a width of 0, two features of one name, an interaction that lacks what it needs, or
  // more parameters than can be counted.
  static Result<TabularModel> create(const TabularShape& shape);

  // The tensors of the flat array, in the order in which they lie in it: "embedding.NAME.weight" [codes, dim]; then
  // "numeric.I.weight" [outputs, inputs] and "numeric.I.bias" [outputs] from I = 0; "cross.I.weight" [width, width], or
  // "cross.I.down.weight" [rank, width] and "cross.I.up.weight" [width, rank], and "cross.I.bias"; "layers.I.weight"
  // and "layers.I.bias"; "output.weight", "output.bias".
  const std::vector<TensorView>& tensors() const { return tensors_; }
  size_t parameters() const { return parameters_; }
  // Where the dense parameters begin: what lies before are the tables, one a feature.
  size_t dense_begin() const { return dense_begin_; }
  size_t dense_parameters() const { return parameters_ - dense_begin_; }
  // The dense tensors, with offsets from there.
  const std::vector<TensorView>& dense_tensors() const { return dense_tensors_; }
  const TabularShape& shape() const { return shape_; }
  // Of a row of features: the embeddings, then the numeric features or what their layers make of them.
  size_t feature_width() const { return feature_width_; }
  // Where a feature's embedding lies in it.
  size_t feature_column(size_t feature) const { return column_[feature]; }

  // Each element is a pure function of (seed, tensor's name, element's index), so that a table which has grown keeps
  // the values of its older rows.
  void initialise(uint64_t seed, float* parameters) const;

  // Whether these rows fit: number of features, codes in range, labels there when asked for, lengths.
  Status check_rows(const EncodedRows& rows, bool with_label) const;

  // shape().outputs() numbers for each row of `rows` named in `indices` (at most the workspace's maximum): a logit, a
  // standardised value, or a logit a class.
  Status forward(const EncodedRows& rows, std::span<const uint32_t> indices, const float* parameters,
                 Workspace* workspace, float* output) const;

  // The SUM of the loss over those rows, and in `gradient` (as long as the parameters, overwritten) the gradient of
  // that sum times `scale`.
  Result<double> forward_backward(const EncodedRows& rows, std::span<const uint32_t> indices, float scale,
                                  const float* parameters, float* gradient, Workspace* workspace) const;
  // The same of gathered rows.
  Result<double> forward_backward(const TabularBatch& batch, float scale, const float* parameters, float* gradient,
                                  Workspace* workspace) const;
  // The same with the tables kept elsewhere: `gradient` is as long as the dense parameters, and `feature_gradient`
  // [row][feature_width] is that of the features, of which a table's row gets the part at its column. For a
  // multi-valued feature that part is already each value's own.
  Result<double> forward_backward(const TabularBatch& batch, float scale, const TabularWeights& weights,
                                  float* gradient, float* feature_gradient, Workspace* workspace) const;

 private:
  // Offsets are into the dense parameters.
  struct Layer {
    size_t inputs = 0, outputs = 0, weight = 0, bias = 0;
  };
  struct CrossLayer {
    size_t weight = 0, bias = 0;  // of rank 0
    size_t down = 0, up = 0;      // else
  };
  using Buffers = std::vector<std::vector<float>>;

  TabularModel() = default;
  size_t add_tensor(const std::string& name, std::vector<uint64_t> shape);
  void add_layers(const std::string& name, size_t* width, const std::vector<uint32_t>& outputs,
                  std::vector<Layer>* layers);
  void add_cross_layers();
  size_t table_begin(size_t feature) const { return tensors_[feature].offset; }
  TabularWeights weights_of(const float* parameters) const;
  size_t numeric_column() const { return feature_width_ - numeric_width_; }
  size_t vectors() const;  // kDot: how many meet

  Status run_forward(const TabularBatch& batch, const TabularWeights& weights, Workspace* workspace) const;
  Status gather_features(const TabularBatch& batch, const TabularWeights& weights, Workspace* workspace) const;
  Status cross_forward(size_t rows, const float* dense, Workspace* workspace) const;
  void dot_forward(size_t rows, Workspace* workspace) const;
  Status layers_forward(const std::vector<Layer>& layers, size_t rows, bool last_is_linear, const float* input,
                        const float* dense, Buffers* outputs) const;
  // What the hidden layers see.
  const float* interacted(const Workspace& workspace) const;

  double loss(const TabularBatch& batch, float scale, Workspace* workspace) const;
  // From the gradient of the last output, in workspace->gradient, to that of `input` there, when it is wanted.
  Status layers_backward(const std::vector<Layer>& layers, size_t rows, bool last_is_linear, const float* input,
                         const Buffers& outputs, const float* dense, float* gradient, Workspace* workspace,
                         bool want_input) const;
  Status cross_backward(size_t rows, const float* dense, float* gradient, float* feature_gradient,
                        Workspace* workspace) const;
  void dot_backward(size_t rows, float* feature_gradient, Workspace* workspace) const;
  Status numeric_backward(const TabularBatch& batch, const float* dense, const float* feature_gradient, float* gradient,
                          Workspace* workspace) const;

  TabularShape shape_;
  size_t feature_width_ = 0;
  size_t numeric_width_ = 0;  // of it, at its end
  size_t hidden_inputs_ = 0;
  std::vector<size_t> column_;
  std::vector<Layer> numeric_layers_, hidden_layers_;  // the last hidden one is the output
  std::vector<CrossLayer> cross_layers_;
  std::vector<TensorView> tensors_, dense_tensors_;
  size_t dense_begin_ = 0;
  size_t parameters_ = 0;
};

}  // namespace freshet::worker
