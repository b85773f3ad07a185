// config.json of a gpt, as Hugging Face's transformers writes and reads it for GPT-2 and Llama, with keys of our own
// (freshet_...) for what it has no key for. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "worker/model/gpt_config.h"

namespace freshet::worker {

struct GptConfigJson {
  GptConfig config;
  bool has_vocabulary = false;  // the tokens are byte pairs with files of their own; else bytes
  uint32_t end_of_text = 0;
};

std::string write_gpt_config(const GptConfigJson& wanted);

// Also what transformers wrote itself, with its defaults for the keys that it leaves out. corrupt: not JSON, a key is
// missing or of another type. invalid_argument: a model of another kind, or with a part that ours does not have.
Result<GptConfigJson> parse_gpt_config(std::string_view json);

}  // namespace freshet::worker
