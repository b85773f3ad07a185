// The recipe of a pipeline at a revision: read from its repository (or from its spec), checked as a whole with what
// the operator applied, defaults filled in.
#pragma once

#include <string>

#include "base/status.h"
#include "daemon/control/context.h"
#include "proto/pipeline.pb.h"
#include "proto/recipe.pb.h"

namespace freshet::control {

// `commit` is ignored when the recipe is part of the spec. invalid_argument or not_found: this revision can't be used
// and the message says what to change in it; anything else: the repository could not be read now.
Result<v1::Recipe> recipe_at(Context& context, const v1::Pipeline& pipeline, const std::string& commit);

}  // namespace freshet::control
