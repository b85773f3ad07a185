#include "proto/recipe_steps.h"

namespace freshet {

const v1::Step* train_step(const v1::Recipe& recipe) {
  for (const auto& step : recipe.steps()) {
    if (step.has_train()) return &step;
  }
  return nullptr;
}

}  // namespace freshet
