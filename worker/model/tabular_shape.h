// What a tabular model is made of: its features, how they act on each other, its layers and what it predicts. Plain
// data, from which tensors and arithmetic follow (tabular.h); exporters read it, too.
//
//   embeddings, numeric features [-> numeric_layers]  ->  side by side: the features
//   kNone:   features -> hidden -> output
//   kDot:    numeric features and the dot products of all pairs of embeddings (and them) -> hidden -> output
//   kCross:  features -> cross_layers -> hidden -> output
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "worker/data/transform.h"

namespace freshet::worker {

struct TabularShape {
  enum class Interaction { kNone, kDot, kCross };
  struct Categorical {
    std::string name;           // "origin", "date.hour_of_day": unique among the features
    uint32_t codes = 0;         // vocabulary + 1
    uint32_t dim = 0;           // of its embedding
    bool multi_valued = false;  // a row has any number of codes, whose embeddings are averaged
  };
  std::vector<Categorical> categorical;
  size_t numeric = 0;
  std::vector<uint32_t> hidden;  // widths; ReLU after each
  bool binary = true;            // log loss of a logit; else squared error, unless there are classes
  uint32_t classes = 0;          // not 0: cross entropy of the softmax over so many logits
  Interaction interaction = Interaction::kNone;
  std::vector<uint32_t> numeric_layers;  // as `hidden`
  uint32_t cross_layers = 0;
  uint32_t cross_rank = 0;  // 0: a layer's matrix is square; else a product of two, with so many rows between

  static TabularShape of(const Transform& transform);
  // Of a recipe's model with its defaults (normalised()), before there are vocabularies: of each one code.
  static TabularShape of(const v1::TabularModel& model, size_t classes);

  size_t outputs() const { return classes == 0 ? 1 : classes; }
};

}  // namespace freshet::worker
