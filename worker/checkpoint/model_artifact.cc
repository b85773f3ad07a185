#include "worker/checkpoint/model_artifact.h"

#include <algorithm>
#include <map>

#include "base/file.h"
#include "worker/checkpoint/artifact_writer.h"
#include "worker/checkpoint/fingerprint.h"
#include "worker/checkpoint/safetensors.h"

namespace freshet::worker {
namespace {

constexpr const char* kFamily = "tabular";
constexpr const char* kWeights = "model.safetensors";
constexpr const char* kTransform = "transform.json";
constexpr const char* kOptimizer = "optimizer.safetensors";

std::string optimizer_bytes(const TabularModel& model, const std::vector<float>& m, const std::vector<float>& v) {
  std::vector<TensorView> tensors;
  std::vector<float> values = m;
  values.insert(values.end(), v.begin(), v.end());
  for (const auto& tensor : model.tensors()) {
    tensors.push_back({"m." + tensor.name, tensor.shape, tensor.offset, tensor.size});
    tensors.push_back({"v." + tensor.name, tensor.shape, m.size() + tensor.offset, tensor.size});
  }
  return write_safetensors(tensors, values.data());
}

std::string shape_text(const std::vector<uint64_t>& shape) {
  std::string text;
  for (uint64_t dimension : shape) text += (text.empty() ? "" : ", ") + std::to_string(dimension);
  return "[" + text + "]";
}

// The file's values in the model's order.
Result<std::vector<float>> arrange(const TabularModel& model, const Safetensors& file) {
  std::map<std::string, const TensorView*> by_name;
  for (const auto& tensor : file.tensors) by_name[tensor.name] = &tensor;
  std::vector<float> parameters(model.parameters());
  for (const auto& tensor : model.tensors()) {
    auto found = by_name.find(tensor.name);
    if (found == by_name.end()) return corrupt("the weights lack the tensor " + tensor.name);
    if (found->second->shape != tensor.shape) {
      return corrupt("the tensor " + tensor.name + " has the shape " + shape_text(found->second->shape) + ", not " +
                     shape_text(tensor.shape));
    }
    const float* from = file.values.data() + found->second->offset;
    std::copy(from, from + tensor.size, parameters.data() + tensor.offset);
  }
  if (by_name.size() != model.tensors().size()) return corrupt("the weights hold tensors that the model does not have");
  return parameters;
}

}  // namespace

Result<v1::ProducedOutput> save_model(const std::filesystem::path& output_dir, const Transform& transform,
                                      const TabularModel& model, const std::vector<float>& parameters,
                                      const std::vector<float>& m, const std::vector<float>& v,
                                      v1::CheckpointInfo checkpoint) {
  ASSIGN_OR_RETURN(auto writer, ArtifactWriter::create(output_dir, "model", "model"));
  RETURN_IF_ERROR(writer.add_file(kWeights, write_safetensors(model.tensors(), parameters.data())));
  RETURN_IF_ERROR(writer.add_file(kTransform, transform.to_json()));
  RETURN_IF_ERROR(writer.add_file(kOptimizer, optimizer_bytes(model, m, v)));
  ASSIGN_OR_RETURN(*checkpoint.mutable_numerics(), numerics_fingerprint());
  checkpoint.set_family(kFamily);
  checkpoint.set_weights_digest(weights_digest(model.tensors(), parameters.data()));
  writer.set_checkpoint(checkpoint);
  return writer.seal();
}

Result<ModelArtifact> load_model(const std::filesystem::path& directory) {
  ASSIGN_OR_RETURN(auto manifest, verify_artifact(directory));
  auto has = [&](const char* name) {
    return std::any_of(manifest.files().begin(), manifest.files().end(),
                       [&](const auto& f) { return f.name() == name; });
  };
  if (manifest.type() != "model" || manifest.checkpoint().family() != kFamily || !has(kWeights) || !has(kTransform)) {
    return invalid_argument(directory.string() + " is not a model of the family " + kFamily);
  }
  ASSIGN_OR_RETURN(std::string json, read_file(directory / kTransform));
  ASSIGN_OR_RETURN(Transform transform, Transform::from_json(json));
  ASSIGN_OR_RETURN(TabularModel model, TabularModel::create(TabularShape::of(transform)));
  ASSIGN_OR_RETURN(std::string bytes, read_file(directory / kWeights));
  ASSIGN_OR_RETURN(Safetensors file, parse_safetensors(bytes));
  ASSIGN_OR_RETURN(std::vector<float> parameters, arrange(model, file));
  if (weights_digest(model.tensors(), parameters.data()) != manifest.checkpoint().weights_digest()) {
    return corrupt(directory.string() + ": the weights are not those that the manifest names");
  }
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
    // Only a table of embeddings may have grown, by rows at its end.
    bool grown = tensor.name.starts_with("embedding.") && source.shape.size() == 2 &&
                 source.shape[1] == tensor.shape[1] && source.shape[0] <= tensor.shape[0];
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
