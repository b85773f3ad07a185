// What the simulated stories apply: a directory of sales, a tabular pipeline on it, and a trigger on new data.
#pragma once

namespace freshet::sim {

inline constexpr char kDocuments[] = R"({
  "sources": [{"api_version": "freshet/v1", "kind": "Source", "metadata": {"name": "drops"},
    "spec": {"directory": {"uri": "file:///drops", "glob": "*.parquet"}}}],
  "pipelines": [{"api_version": "freshet/v1", "kind": "Pipeline", "metadata": {"name": "demand"},
    "spec": {"inputs": [{"name": "sales", "source": "drops", "holdout_newest_entries": 2,
                         "validation": {"champion": {"metric": "auc", "min": 0.55}}}],
      "seed": 1,
      "recipe": {"steps": [
        {"name": "train", "train": {"warm_start": true, "epochs": 1,
           "tabular": {"features": [{"column": "price", "kind": "NUMERIC"}],
                       "label": {"column": "sold", "task": "BINARY"}, "hidden_layers": [8]}}},
        {"name": "evaluate", "needs": ["train"], "evaluate": {}},
        {"name": "promote", "needs": ["evaluate"], "promote": {}}]},
      "resources": [{"step": "train", "ranks": 2}],
      "gates": [{"name": "learns", "absolute": {"metric": "auc", "min": 0.55}},
                {"name": "not-worse", "relative": {"margin": 0.01}}],
      "promotion": {"alias": "champion"}}}],
  "triggers": [{"api_version": "freshet/v1", "kind": "Trigger", "metadata": {"name": "new-sales"},
    "spec": {"pipeline": "demand", "new_data": {"input": "sales", "min_rows": 300, "debounce_ms": 200}}}]
})";

}  // namespace freshet::sim
