// A gpt of the GPT-2 style as llm.c keeps it (model_*.bin): 256 int32 of header, then sixteen tensors, each of all
// layers one after the other, products as [outputs][inputs]; the vocabulary filled up with zeros to a multiple of 128.
// Source of the layout: llm.c's train_gpt2.py, write_model. Blocking; any thread.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/status.h"
#include "worker/checkpoint/gpt_artifact.h"

namespace freshet::worker {

enum class LlmcNumbers { kFloat32, kBfloat16 };  // versions 3 and 5 of the file

// `tokenizer` as in open_gpt_tokenizer. kCorrupt: cut, or not such a file; invalid_argument: another version.
Result<GptArtifact> read_llmc(const std::filesystem::path& file, const std::string& tokenizer);

// Replaces the file, durably. kBfloat16 rounds to nearest. invalid_argument for a model that the format has no room
// for: of the Llama style, or with a feed-forward part that is not four times the width.
Status write_llmc(const std::filesystem::path& file, const GptModel& model, const std::vector<float>& parameters,
                  LlmcNumbers numbers);

}  // namespace freshet::worker
