#include "worker/checkpoint/model_artifact.h"

#include <algorithm>
#include <map>

#include "base/file.h"
#include "worker/checkpoint/artifact_writer.h"

namespace freshet::worker {
namespace {

constexpr const char* kTransform = "transform.json";

}  // namespace

Result<v1::ProducedOutput> save_model(const std::filesystem::path& output_dir, const Transform& transform,
                                      const TabularModel& model, const TrainedWeights& weights,
                                      v1::CheckpointInfo checkpoint) {
  ASSIGN_OR_RETURN(auto writer, ArtifactWriter::create(output_dir, "model", "model"));
  RETURN_IF_ERROR(writer.add_file(kTransform, transform.to_json()));
  RETURN_IF_ERROR(add_weights(model.tensors(), weights, kTabularFamily, std::move(checkpoint), &writer));
  return writer.seal();
}

Result<ModelArtifact> load_model(const std::filesystem::path& directory) {
  ASSIGN_OR_RETURN(auto manifest, verify_model(directory, kTabularFamily, {kTransform}));
  ASSIGN_OR_RETURN(std::string json, read_file(directory / kTransform));
  ASSIGN_OR_RETURN(Transform transform, Transform::from_json(json));
  ASSIGN_OR_RETURN(TabularModel model, TabularModel::create(TabularShape::of(transform)));
  ASSIGN_OR_RETURN(std::vector<float> parameters, read_weights(directory, manifest, model.tensors()));
  return ModelArtifact{std::move(transform), std::move(model), std::move(parameters), manifest.checkpoint()};
}

Result<std::vector<float>> warm_start(const TabularModel& model, std::vector<float> initial,
                                      const ModelArtifact& from) {
  CHECK(initial.size() == model.parameters());
  std::map<std::string, const TensorView*> old;
  for (const auto& tensor : from.model.tensors()) old[tensor.name] = &tensor;
  if (old.size() != model.tensors().size()) return invalid_argument("the warm start's model has other tensors");
  for (const auto& tensor : model.tensors()) {
    auto found = old.find(tensor.name);
    if (found == old.end()) return invalid_argument("the warm start's model lacks " + tensor.name);
    const TensorView& source = *found->second;
    // Only a table of embeddings may have grown, by rows at its end, and what there is of each class.
    bool may_grow = tensor.name.starts_with("embedding.") || tensor.name.starts_with("output.");
    bool grown = may_grow && source.shape.size() == tensor.shape.size() && source.shape[0] <= tensor.shape[0] &&
                 std::equal(source.shape.begin() + 1, source.shape.end(), tensor.shape.begin() + 1);
    if (source.shape != tensor.shape && !grown) {
      return invalid_argument("the warm start's " + tensor.name + " has the shape " + shape_text(source.shape) +
                              ", not " + shape_text(tensor.shape));
    }
    const float* values = from.parameters.data() + source.offset;
    std::copy(values, values + source.size, initial.data() + tensor.offset);
  }
  return initial;
}

}  // namespace freshet::worker
