// A trained tabular model as an artifact: model.safetensors, transform.json, optimizer.safetensors (AdamW's moments, as
// "m.NAME" and "v.NAME"), manifest.json with CheckpointInfo. Written by rank 0 at the end of a training; read to score
// and to start warm. Blocking.
#pragma once

#include <filesystem>
#include <vector>

#include "base/status.h"
#include "proto/artifact.pb.h"
#include "proto/attempt.pb.h"
#include "worker/checkpoint/weights.h"
#include "worker/data/transform.h"
#include "worker/model/tabular.h"

namespace freshet::worker {

inline constexpr char kTabularFamily[] = "tabular";

struct ModelArtifact {
  Transform transform;
  TabularModel model;
  std::vector<float> parameters;
  v1::CheckpointInfo checkpoint;
};

// Fills in weights_digest and numerics.
Result<v1::ProducedOutput> save_model(const std::filesystem::path& output_dir, const Transform& transform,
                                      const TabularModel& model, const TrainedWeights& weights,
                                      v1::CheckpointInfo checkpoint);

// Verifies every file against the manifest, the tensors against the transform, and the weights' digest.
Result<ModelArtifact> load_model(const std::filesystem::path& directory);

// The starting weights of `model`, whose features are those of `from` and whose vocabularies and classes begin with
// those of `from`: its weights, and for categories and classes that it does not have, what `initial` holds.
// invalid_argument when a tensor does not fit.
Result<std::vector<float>> warm_start(const TabularModel& model, std::vector<float> initial, const ModelArtifact& from);

}  // namespace freshet::worker
