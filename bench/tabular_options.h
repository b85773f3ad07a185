// The tabular model that a benchmark trains, as options of its program.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "worker/model/tabular.h"

namespace freshet::worker {

struct TabularOptions {
  size_t tables = 2, codes = 229, dim = 16, numeric = 1, batch = 4096;
  std::vector<uint32_t> numeric_layers, hidden;
  bool dot = false;
  uint32_t cross_layers = 0, cross_rank = 0;
  double learning_rate = 1e-3;

  void add_to(CLI::App* app) {
    app->add_option("--tables", tables, "categorical features")->capture_default_str();
    app->add_option("--codes", codes, "of each")->capture_default_str();
    app->add_option("--dim", dim, "of their embeddings")->capture_default_str();
    app->add_option("--numeric", numeric, "features")->capture_default_str();
    app->add_option("--numeric_layers", numeric_layers)->delimiter(',');
    app->add_option("--hidden", hidden)->delimiter(',');
    app->add_option("--dot", dot, "1: DLRM's interaction")->capture_default_str();
    app->add_option("--cross_layers", cross_layers, "DCNv2's interaction");
    app->add_option("--cross_rank", cross_rank, "0: square matrices");
    app->add_option("--batch", batch, "rows of a step")->capture_default_str();
    app->add_option("--learning_rate", learning_rate, "of AdamW")->capture_default_str();
  }

  TabularShape shape() const {
    TabularShape shape;
    for (size_t t = 0; t < tables; ++t) {
      shape.categorical.push_back({std::to_string(t), static_cast<uint32_t>(codes), static_cast<uint32_t>(dim), false});
    }
    shape.numeric = numeric;
    shape.numeric_layers = numeric_layers;
    shape.hidden = hidden;
    if (dot) shape.interaction = TabularShape::Interaction::kDot;
    if (cross_layers > 0) shape.interaction = TabularShape::Interaction::kCross;
    shape.cross_layers = cross_layers;
    shape.cross_rank = cross_rank;
    return shape;
  }
};

}  // namespace freshet::worker
