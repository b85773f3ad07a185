// The tabular model: an embedding per categorical feature and the standardised numeric features, side by side, into a
// multi-layer perceptron with ReLU and one output (a logit, or a standardised value). The object is the architecture;
// the parameters are one flat float array that the caller owns, with named tensors in it. Immutable; any thread, with a
// Workspace of its own for each. One call works on one micro-batch on the calling thread and its bits depend on the
// parameters and the rows only.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "worker/checkpoint/tensors.h"
#include "worker/data/encoded.h"
#include "worker/data/transform.h"

namespace freshet::worker {

struct TabularShape {
  struct Categorical {
    std::string name;    // "origin", "date.hour_of_day": unique among the features
    uint32_t codes = 0;  // vocabulary + 1
    uint32_t dim = 0;
  };
  std::vector<Categorical> categorical;
  size_t numeric = 0;
  std::vector<uint32_t> hidden;
  bool binary = true;  // log loss of a logit; else squared error

  static TabularShape of(const Transform& transform);
};

class TabularModel {
 public:
  // What one thread needs for micro-batches of up to `rows_max` rows.
  class Workspace {
   public:
    Workspace(const TabularModel& model, size_t rows_max);

   private:
    friend class TabularModel;
    std::vector<int32_t> codes;
    std::vector<float> label;
    std::vector<std::vector<float>> activation;  // [0]: input, [i]: output of layer i
    std::vector<float> gradient, gradient_below;
  };

  // invalid_argument: no features, a width of 0, two features of one name, or more parameters than can be counted.
  static Result<TabularModel> create(const TabularShape& shape);

  // The tensors of the flat array, in the order in which they lie in it: "embedding.NAME.weight" [codes, dim],
  // "layers.I.weight" [outputs, inputs] and "layers.I.bias" [outputs] from I = 0, "output.weight", "output.bias".
  const std::vector<TensorView>& tensors() const { return tensors_; }
  size_t parameters() const { return parameters_; }
  const TabularShape& shape() const { return shape_; }

  // Each element is a pure function of (seed, tensor's name, element's index), so that a table which has grown keeps
  // the values of its older rows.
  void initialise(uint64_t seed, float* parameters) const;

  // Whether these rows fit: number of features, codes in range, labels there when asked for, lengths.
  Status check_rows(const EncodedRows& rows, bool with_label) const;

  // One output per row of `rows` named in `indices` (at most the workspace's maximum).
  Status forward(const EncodedRows& rows, std::span<const uint32_t> indices, const float* parameters,
                 Workspace* workspace, float* output) const;

  // The SUM of the loss over those rows, and in `gradient` (as long as the parameters, overwritten) the gradient of
  // that sum times `scale`.
  Result<double> forward_backward(const EncodedRows& rows, std::span<const uint32_t> indices, float scale,
                                  const float* parameters, float* gradient, Workspace* workspace) const;

 private:
  struct Layer {
    size_t inputs = 0, outputs = 0, weight = 0, bias = 0;  // the last two: offsets
  };
  TabularModel() = default;
  void add_tensor(const std::string& name, std::vector<uint64_t> shape);
  void gather_input(const EncodedRows& rows, std::span<const uint32_t> indices, const float* parameters,
                    Workspace* workspace) const;
  Status run_layers(size_t rows, const float* parameters, Workspace* workspace) const;
  void embedding_gradients(const EncodedRows& rows, std::span<const uint32_t> indices, const float* input_gradient,
                           float* gradient, Workspace* workspace) const;

  TabularShape shape_;
  size_t input_width_ = 0;
  std::vector<size_t> embedding_;  // offsets
  std::vector<Layer> layers_;
  std::vector<TensorView> tensors_;
  size_t parameters_ = 0;
};

}  // namespace freshet::worker
