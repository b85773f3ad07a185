// A trained gpt as an artifact, in the layout that Hugging Face's transformers loads: model.safetensors and config.json
// in the names of GPT-2 or Llama, vocab.json and merges.txt unless its tokens are bytes; beside them
// optimizer.safetensors and manifest.json with CheckpointInfo. Written by rank 0 at the end of a training; read to
// score and to start warm. Blocking.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "base/status.h"
#include "proto/artifact.pb.h"
#include "proto/attempt.pb.h"
#include "proto/recipe.pb.h"
#include "worker/checkpoint/weights.h"
#include "worker/model/gpt.h"
#include "worker/text/bpe.h"

namespace freshet::worker {

inline constexpr const char* kGptFamily = "gpt";

// Bytes when there is no vocabulary.
class GptTokenizer {
 public:
  explicit GptTokenizer(std::optional<Bpe> vocabulary);
  const Tokenizer& get() const { return *tokenizer_; }
  const Bpe* vocabulary() const { return vocabulary_.get(); }  // null: bytes
  // The same tokens of any text.
  bool operator==(const GptTokenizer& other) const;

 private:
  std::shared_ptr<const Bpe> vocabulary_;
  std::shared_ptr<const Tokenizer> tokenizer_;
};

struct GptArtifact {
  GptTokenizer tokenizer;
  GptModel model;
  std::vector<float> parameters;
  v1::CheckpointInfo checkpoint;
};

// The recipe's model with a vocabulary of this size; invalid_argument when it does not fit together.
Result<GptModel> make_gpt(const v1::GptModel& wanted, size_t vocabulary_size);

// As output_dir/name.
Result<v1::ProducedOutput> save_gpt(const std::filesystem::path& output_dir, const GptTokenizer& tokenizer,
                                    const GptModel& model, const TrainedWeights& weights, v1::CheckpointInfo checkpoint,
                                    const std::string& name = "model");

// Verifies every file against the manifest, the tensors against the configuration, and the weights' digest.
Result<GptArtifact> load_gpt(const std::filesystem::path& directory);

}  // namespace freshet::worker
