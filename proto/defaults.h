// Fills in what a document leaves out, with the values that the comments of the schema name. Idempotent: a document
// with its defaults stays as it is. Digests are made after this, so writing a default out changes nothing. Any thread.
#pragma once

#include "proto/pipeline.pb.h"
#include "proto/recipe.pb.h"
#include "proto/webhook.pb.h"

namespace freshet {

// The step that is added to a recipe for a gate on a replay, and the last one of a run that replays a version.
inline constexpr char kReplayStepName[] = "replay";

void apply_defaults(v1::Pipeline* pipeline);
// Of the pipeline's spec, whose gates say by which metric versions are ranked.
void apply_defaults(v1::Retention* retention, const v1::PipelineSpec& spec);
void apply_defaults(v1::Source* source);
void apply_defaults(v1::Trigger* trigger);
void apply_defaults(v1::Webhook* webhook);
// Without what depends on the pipeline: steps that name no input keep none, unless the whole Pipeline is given.
void apply_defaults(v1::Recipe* recipe);

}  // namespace freshet
