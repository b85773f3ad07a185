// A tabular model as an ONNX graph (operator set 17), for runtimes that serve it without Freshet. Its inputs are the
// encoded features under their names: [rows] codes of a categorical feature as int64; [rows, values] of a multi-valued
// one, each row's codes and then -1 up to the row with the most (a row may have none, and so may all); [rows] of a
// numeric one, standardised, as float. Vocabularies and scalings stay outside, in transform.json. The graph's metadata
// are "freshet.inputs" and, of them, "freshet.padded_inputs" (names in their order, a line each), "freshet.label",
// "freshet.classes" (a JSON list) and "freshet.weights_digest". Blocking; any thread.
#pragma once

#include <filesystem>
#include <string>

#include "base/status.h"
#include "worker/checkpoint/model_artifact.h"

namespace freshet::worker {

// The bytes of the file. Outputs: "logit" and "probability" [rows] of a binary model, "value" [rows] (in the label's
// unit) of a regression, "logits" and "probabilities" [rows, classes] of several classes. invalid_argument for a
// feature whose name something else in the graph has, and for a model of 2 GiB and more.
Result<std::string> to_onnx(const ModelArtifact& artifact);

}  // namespace freshet::worker
