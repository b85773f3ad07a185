#include "worker/checkpoint/weights.h"

#include <algorithm>
#include <map>

#include "base/file.h"
#include "worker/checkpoint/fingerprint.h"
#include "worker/checkpoint/manifest.h"
#include "worker/checkpoint/products_file.h"

namespace freshet::worker {
namespace {

constexpr const char* kWeights = "model.safetensors";
constexpr const char* kOptimizer = "optimizer.safetensors";

std::string optimizer_bytes(const std::vector<TensorView>& tensors, const TrainedWeights& weights) {
  std::vector<TensorView> moments;
  std::vector<float> values = weights.m;
  values.insert(values.end(), weights.v.begin(), weights.v.end());
  values.insert(values.end(), weights.row_sums.begin(), weights.row_sums.end());
  const size_t first = weights.parameters.size() - weights.m.size();
  size_t sums = weights.m.size() + weights.v.size();
  for (const auto& tensor : tensors) {
    if (tensor.offset < first) {
      moments.push_back({"sum." + tensor.name, {tensor.shape[0]}, sums, tensor.shape[0]});
      sums += tensor.shape[0];
      continue;
    }
    const size_t offset = tensor.offset - first;
    moments.push_back({"m." + tensor.name, tensor.shape, offset, tensor.size});
    moments.push_back({"v." + tensor.name, tensor.shape, weights.m.size() + offset, tensor.size});
  }
  return write_safetensors(moments, values.data());
}

}  // namespace

std::string shape_text(const std::vector<uint64_t>& shape) {
  std::string text;
  for (uint64_t dimension : shape) text += (text.empty() ? "" : ", ") + std::to_string(dimension);
  return "[" + text + "]";
}

Result<std::vector<float>> arrange(const std::vector<TensorView>& tensors, const Safetensors& file) {
  std::map<std::string, const TensorView*> by_name;
  for (const auto& tensor : file.tensors) by_name[tensor.name] = &tensor;
  std::vector<float> parameters(file.values.size());
  for (const auto& tensor : tensors) {
    auto found = by_name.find(tensor.name);
    if (found == by_name.end()) return corrupt("the weights lack the tensor " + tensor.name);
    if (found->second->shape != tensor.shape) {
      return corrupt("the tensor " + tensor.name + " has the shape " + shape_text(found->second->shape) + ", not " +
                     shape_text(tensor.shape));
    }
    const float* from = file.values.data() + found->second->offset;
    std::copy(from, from + tensor.size, parameters.data() + tensor.offset);
  }
  if (by_name.size() != tensors.size()) return corrupt("the weights hold tensors that the model does not have");
  return parameters;
}

Status add_weights(const std::vector<TensorView>& tensors, const TrainedWeights& weights, const std::string& family,
                   v1::CheckpointInfo checkpoint, ArtifactWriter* writer) {
  RETURN_IF_ERROR(writer->add_file(kWeights, write_safetensors(tensors, weights.parameters.data())));
  if (!weights.m.empty()) {
    RETURN_IF_ERROR(writer->add_file(kOptimizer, optimizer_bytes(tensors, weights)));
  }
  if (!weights.products.empty()) RETURN_IF_ERROR(writer->add_file(kProductsFile, weights.products));
  if (!checkpoint.has_numerics()) *checkpoint.mutable_numerics() = platform_fingerprint();
  ASSIGN_OR_RETURN(*checkpoint.mutable_numerics(), numerics_fingerprint(checkpoint.numerics()));
  checkpoint.set_family(family);
  checkpoint.set_weights_digest(weights_digest(tensors, weights.parameters.data()));
  writer->set_checkpoint(checkpoint);
  return Status::ok();
}

Result<v1::ArtifactManifest> verify_model(const std::filesystem::path& directory, const std::string& family,
                                          const std::vector<std::string>& files) {
  ASSIGN_OR_RETURN(auto manifest, verify_artifact(directory));
  auto has = [&](const std::string& name) {
    return std::any_of(manifest.files().begin(), manifest.files().end(),
                       [&](const auto& file) { return file.name() == name; });
  };
  if (manifest.type() != "model" || manifest.checkpoint().family() != family || !has(kWeights) ||
      !std::all_of(files.begin(), files.end(), has)) {
    return invalid_argument(directory.string() + " is not a model of the family " + family);
  }
  return manifest;
}

Result<std::vector<float>> read_weights(const std::filesystem::path& directory, const v1::ArtifactManifest& manifest,
                                        const std::vector<TensorView>& tensors) {
  ASSIGN_OR_RETURN(std::string bytes, read_file(directory / kWeights));
  ASSIGN_OR_RETURN(Safetensors file, parse_safetensors(bytes));
  ASSIGN_OR_RETURN(std::vector<float> parameters, arrange(tensors, file));
  if (weights_digest(tensors, parameters.data()) != manifest.checkpoint().weights_digest()) {
    return corrupt(directory.string() + ": the weights are not those that the manifest names");
  }
  return parameters;
}

}  // namespace freshet::worker
