// Finding steps in a recipe. Pure; any thread.
#pragma once

#include "proto/recipe.pb.h"

namespace freshet {

// The train step, of which a valid recipe has at most one; null when it has none. Lives as long as the recipe.
const v1::Step* train_step(const v1::Recipe& recipe);

}  // namespace freshet
