// Reads a gpt from a directory that Hugging Face's transformers saved: config.json, and model.safetensors or the files
// that model.safetensors.index.json names. The reverse needs no program: an artifact of ours is such a directory.
// Blocking; any thread.
#pragma once

#include <filesystem>
#include <string>

#include "base/status.h"
#include "worker/checkpoint/gpt_artifact.h"

namespace freshet::worker {

// `tokenizer`: "bytes", or a directory with a vocabulary; empty: the model's own. Tensors of F32, F16 and BF16, with or
// without the leading "transformer." or "model."; every value becomes a float exactly. kNotFound, corrupt; or
// invalid_argument for a model with a part that ours does not have, or a tokenizer with another number of tokens.
Result<GptArtifact> read_hugging_face(const std::filesystem::path& directory, const std::string& tokenizer);

// The tokenizer of that name ("bytes" or a directory); invalid_argument unless it has `tokens` tokens.
Result<GptTokenizer> open_gpt_tokenizer(const std::string& name, size_t tokens);

}  // namespace freshet::worker
