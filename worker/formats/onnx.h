// A tabular model as an ONNX graph (operator set 17), for runtimes that serve it without Freshet. Its inputs are the
// encoded features, [rows] each: the codes of categorical features as int64, numeric features standardised as float,
// under their names. Vocabularies and scalings stay outside, in transform.json; the graph's metadata names the inputs
// in their order and the digest of the weights. Blocking; any thread.
#pragma once

#include <filesystem>
#include <string>

#include "base/status.h"
#include "worker/checkpoint/model_artifact.h"

namespace freshet::worker {

// The bytes of the file. Outputs, [rows] each: "logit" and "probability" of a binary model, "value" (in the label's
// unit) of a regression. invalid_argument for a model with parts that have no graph yet.
Result<std::string> to_onnx(const ModelArtifact& artifact);

}  // namespace freshet::worker
