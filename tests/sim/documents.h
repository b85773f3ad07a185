// What the simulated stories apply: a directory of sales, a tabular pipeline on it, and a trigger on new data; and, for
// the lives, a second pipeline whose recipe comes from Git and whose versions a person promotes.
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

// %SEED%, %CATCH_UP% and the places of one more gate are filled in; the gates are such that the numbers of a simulated
// report decide them alone.
inline constexpr char kLifeDocuments[] = R"({
  "sources": [{"api_version": "freshet/v1", "kind": "Source", "metadata": {"name": "drops"},
    "spec": {"directory": {"uri": "file:///drops", "glob": "*.parquet"}}},
    {"api_version": "freshet/v1", "kind": "Source", "metadata": {"name": "code"},
    "spec": {"git": {"uri": "file:///code", "branch": "main"}}}],
  "pipelines": [{"api_version": "freshet/v1", "kind": "Pipeline", "metadata": {"name": "demand"},
    "spec": {"inputs": [{"name": "sales", "source": "drops", "holdout_newest_entries": 2}],
      "seed": %SEED%,
      "recipe": {"steps": [
        {"name": "train", "train": {"warm_start": true, "epochs": 1,
           "tabular": {"features": [{"column": "price", "kind": "NUMERIC"}],
                       "label": {"column": "sold", "task": "BINARY"}, "hidden_layers": [8]}}},
        {"name": "evaluate", "needs": ["train"], "evaluate": {}},
        {"name": "promote", "needs": ["evaluate"], "promote": {}}]},
      "resources": [{"step": "train", "ranks": 2, "timeout_s": 120}, {"step": "evaluate", "timeout_s": 60}],
      "gates": [{"name": "learns", "absolute": {"metric": "auc", "min": 0.55}},
                {"name": "not-worse", "relative": {"margin": 0.01, "resamples": 100}}%DEMAND_REPLAY%],
      "retention": {"keep_last": 2, "keep_best": 1, "keep_promoted_days": 0},
      "promotion": {"alias": "champion"}}},
    {"api_version": "freshet/v1", "kind": "Pipeline", "metadata": {"name": "churn"},
    "spec": {"inputs": [{"name": "sales", "source": "drops", "holdout_newest_entries": 1}],
      "seed": 1, "priority": 1,
      "recipe_from": {"source": "code", "path": "recipe.yaml"},
      "resources": [{"step": "train", "timeout_s": 120}, {"step": "evaluate", "timeout_s": 60}],
      "gates": [{"name": "learns", "absolute": {"metric": "auc", "min": 0.55}}%CHURN_REPLAY%],
      "retention": {"keep_last": 1, "keep_best": 0, "keep_promoted_days": 0},
      "promotion": {"alias": "champion", "policy": "MANUAL"}}}],
  "triggers": [{"api_version": "freshet/v1", "kind": "Trigger", "metadata": {"name": "new-sales"},
    "spec": {"pipeline": "demand", "new_data": {"input": "sales", "min_rows": 300, "debounce_ms": 2000}}},
    {"api_version": "freshet/v1", "kind": "Trigger", "metadata": {"name": "now-and-then"},
    "spec": {"pipeline": "demand", "cron": {"schedule": "*/13 * * * *", "catch_up": "%CATCH_UP%"}}},
    {"api_version": "freshet/v1", "kind": "Trigger", "metadata": {"name": "new-code"},
    "spec": {"pipeline": "churn", "new_commit": {"source": "code", "paths": ["recipe.yaml"]}}}],
  "webhooks": [{"api_version": "freshet/v1", "kind": "Webhook", "metadata": {"name": "watcher"},
    "spec": {"url": "https://example.org/", "max_attempts": 100}},
    {"api_version": "freshet/v1", "kind": "Webhook", "metadata": {"name": "impatient"},
    "spec": {"url": "https://example.net/", "events": ["alias.moved"], "max_attempts": 1}}]
})";

// One more gate, for %DEMAND_REPLAY% or %CHURN_REPLAY%.
inline constexpr char kReplayGate[] = R"(, {"name": "reproducible", "replay": {}})";

// %EPOCHS% makes each revision another.
inline constexpr char kRecipeFile[] = R"(api_version: freshet/v1
kind: Recipe
spec:
  steps:
    - name: train
      train:
        epochs: %EPOCHS%
        tabular:
          features: [{column: price, kind: NUMERIC}]
          label: {column: sold, task: BINARY}
          hidden_layers: [8]
    - name: evaluate
      needs: [train]
      evaluate: {}
    - name: promote
      needs: [evaluate]
      promote: {}
)";

}  // namespace freshet::sim
