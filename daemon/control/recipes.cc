#include "daemon/control/recipes.h"

#include "proto/defaults.h"
#include "proto/validate.h"
#include "proto/yaml.h"

namespace freshet::control {

Result<v1::Recipe> recipe_at(Context& context, const v1::Pipeline& pipeline, const std::string& commit) {
  v1::Pipeline whole = pipeline;
  if (pipeline.spec().has_recipe_from()) {
    const auto& from = pipeline.spec().recipe_from();
    ASSIGN_OR_RETURN(std::string text,
                     context.sources.read_file(pipeline.metadata().project(), from.source(), commit, from.path()));
    ASSIGN_OR_RETURN(v1::Recipe recipe, load_recipe(text, from.path()));
    whole.mutable_spec()->clear_recipe_from();
    *whole.mutable_spec()->mutable_recipe() = std::move(recipe);
  }
  apply_defaults(&whole);
  RETURN_IF_ERROR(validate(whole));
  return whole.spec().recipe();
}

}  // namespace freshet::control
