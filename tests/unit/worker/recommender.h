// Shapes of recommenders and made-up rows for them: users, bags of tags, numbers. The same in every run. Tests only.
#pragma once

#include <cmath>
#include <map>
#include <string>

#include "base/random.h"
#include "tests/unit/worker/synthetic.h"

namespace freshet::worker {

inline std::map<std::string, TabularShape> recommender_shapes() {
  using Interaction = TabularShape::Interaction;
  TabularShape shape;
  shape.categorical = {{"user", 23, 8, false}, {"tags", 11, 8, true}};
  shape.numeric = 3;
  shape.hidden = {12};
  std::map<std::string, TabularShape> shapes;
  shapes["side by side"] = shape;
  shapes["numeric layers"] = shape;
  shapes["numeric layers"].numeric_layers = {6, 5};
  shapes["classes"] = shape;
  shapes["classes"].classes = 3;
  auto dot = shape;
  dot.interaction = Interaction::kDot;
  dot.numeric_layers = {6, 8};
  shapes["dot with numeric features"] = dot;
  dot.numeric_layers.clear();
  dot.numeric = 0;
  shapes["dot of embeddings alone"] = dot;
  auto cross = shape;
  cross.interaction = Interaction::kCross;
  cross.cross_layers = 2;
  shapes["cross of full rank"] = cross;
  cross.cross_rank = 4;
  shapes["cross of low rank"] = cross;
  cross.numeric_layers = {5};
  cross.hidden.clear();
  shapes["cross of low rank, numeric layers, nothing hidden"] = cross;
  return shapes;
}

inline EncodedRows recommender_rows(const TabularShape& shape, size_t count, uint64_t seed = 5) {
  EncodedRows rows;
  rows.rows = count;
  rows.categorical.resize(shape.categorical.size());
  rows.ends.resize(shape.categorical.size());
  rows.numeric.resize(shape.numeric);
  rows.entry_uris = {"made-up"};
  rows.entry.assign(count, 0);
  Philox philox(seed);
  uint64_t draws = 0;
  for (size_t r = 0; r < count; ++r) {
    double signal = 0;
    for (size_t f = 0; f < shape.categorical.size(); ++f) {
      const auto& feature = shape.categorical[f];
      const uint64_t values = feature.multi_valued ? philox.below(draws++, 4) : 1;
      for (uint64_t i = 0; i < values; ++i) {
        // Half of the draws are among the first three, as popular things are.
        const uint64_t of = philox.below(draws++, 2) == 0 ? std::min<uint64_t>(3, feature.codes) : feature.codes;
        rows.categorical[f].push_back(static_cast<int32_t>(philox.below(draws++, of)));
        signal += std::sin(rows.categorical[f].back() + static_cast<double>(f));
      }
      if (feature.multi_valued) rows.ends[f].push_back(static_cast<uint32_t>(rows.categorical[f].size()));
    }
    for (auto& column : rows.numeric) {
      column.push_back(static_cast<float>(2 * philox.uniform(draws++) - 1));
      signal += static_cast<double>(column.back());
    }
    const bool is_positive = philox.uniform(draws++) < 1 / (1 + std::exp(-signal));
    rows.label.push_back(shape.classes > 0 ? static_cast<float>(philox.below(draws++, shape.classes))
                                           : static_cast<float>(is_positive ? 1 : 0));
  }
  return rows;
}

}  // namespace freshet::worker
