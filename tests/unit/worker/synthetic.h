// Small made-up training sets for the engine's tests: a few categories and numbers with a signal in them. The same in
// every run. Tests only.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "base/random.h"
#include "worker/data/encoded.h"
#include "worker/model/tabular.h"

namespace freshet::worker {

inline TabularShape synthetic_shape(bool binary = true) {
  TabularShape shape;
  shape.categorical = {{"from", 23, 8}, {"to", 7, 5}};
  shape.numeric = 2;
  shape.hidden = {48, 16};
  shape.binary = binary;
  return shape;
}

inline EncodedRows synthetic_rows(size_t count, bool binary = true, uint64_t seed = 5) {
  Philox philox(seed);
  EncodedRows rows;
  rows.rows = count;
  rows.categorical.resize(2);
  rows.numeric.resize(2);
  rows.entry_uris = {"made-up"};
  for (uint64_t i = 0; i < count; ++i) {
    int32_t from = static_cast<int32_t>(philox.below(5 * i, 23)), to = static_cast<int32_t>(philox.below(5 * i + 1, 7));
    double a = 2 * philox.uniform(5 * i + 2) - 1, b = 2 * philox.uniform(5 * i + 3) - 1;
    double signal = 1.5 * std::sin(from) + (to % 2 == 0 ? 0.7 : -0.7) + 2 * a * b;
    rows.categorical[0].push_back(from);
    rows.categorical[1].push_back(to);
    rows.numeric[0].push_back(static_cast<float>(a));
    rows.numeric[1].push_back(static_cast<float>(b));
    double noise = philox.uniform(5 * i + 4);
    rows.label.push_back(
        static_cast<float>(binary ? (noise < 1 / (1 + std::exp(-signal)) ? 1 : 0) : signal + noise - 0.5));
    rows.entry.push_back(0);
  }
  return rows;
}

// Every row once, for a forward pass.
inline std::vector<uint32_t> all_rows(const EncodedRows& rows) {
  std::vector<uint32_t> indices(rows.rows);
  for (size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<uint32_t>(i);
  return indices;
}

}  // namespace freshet::worker
