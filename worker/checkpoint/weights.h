// The files of weights in a model's artifact, whatever its family: model.safetensors, and optimizer.safetensors with
// AdamW's two moments of each tensor as "m.NAME" and "v.NAME", or row-wise AdaGrad's sums as "sum.NAME"; of a training
// on a GPU its table of matrix products, too. Blocking; any thread.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "proto/artifact.pb.h"
#include "worker/checkpoint/artifact_writer.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/checkpoint/tensors.h"

namespace freshet::worker {

// What a training ends with: a flat array, laid out by the model's tensors, and the moments of its last elements.
// Those before are tables of embeddings, which have a number for each row instead. A model that was not trained here
// has no moments.
struct TrainedWeights {
  const std::vector<float>& parameters;
  const std::vector<float>& m;
  const std::vector<float>& v;
  std::span<const float> row_sums = {};
  std::string_view products = {};  // the table of matrix products that it went by (products_file.h); empty: none
};

// Adds the files, and to `checkpoint` the family, the weights' digest, and what its numerics fingerprint lacks.
Status add_weights(const std::vector<TensorView>& tensors, const TrainedWeights& weights, const std::string& family,
                   v1::CheckpointInfo checkpoint, ArtifactWriter* writer);

// The manifest of a model's directory, all its files verified; invalid_argument when it is not of this family or lacks
// one of `files`.
Result<v1::ArtifactManifest> verify_model(const std::filesystem::path& directory, const std::string& family,
                                          const std::vector<std::string>& files);

// A file's values as `tensors` lay them out. corrupt when it lacks one of them, has it in another shape, or holds more.
Result<std::vector<float>> arrange(const std::vector<TensorView>& tensors, const Safetensors& file);

// The parameters as `tensors` lay them out. corrupt when the file holds other tensors, or not the weights that the
// manifest names.
Result<std::vector<float>> read_weights(const std::filesystem::path& directory, const v1::ArtifactManifest& manifest,
                                        const std::vector<TensorView>& tensors);

// "[2, 3]"
std::string shape_text(const std::vector<uint64_t>& shape);

}  // namespace freshet::worker
