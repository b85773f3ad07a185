// A gpt that a recipe may ask for can be made, and what can't be made is refused with the recipe: validate() and
// GptConfig::check() say the same.
#include <gtest/gtest.h>

#include "proto/defaults.h"
#include "proto/validate.h"
#include "worker/checkpoint/gpt_artifact.h"

namespace freshet::worker {
namespace {

v1::Recipe recipe_of(const v1::GptModel& gpt) {
  v1::Recipe recipe;
  auto* step = recipe.add_steps();
  step->set_name("train");
  step->mutable_train()->set_input("text");
  *step->mutable_train()->mutable_gpt() = gpt;
  apply_defaults(&recipe);
  return recipe;
}

TEST(GptRules, AreThoseOfRecipes) {
  size_t made = 0, refused = 0;
  for (auto style : {v1::GptModel::GPT2, v1::GptModel::LLAMA}) {
    for (uint32_t heads : {0, 1, 2, 3, 4, 8}) {
      for (uint32_t kv_heads : {0, 1, 2, 3}) {
        for (uint32_t width : {0, 4, 6, 8, 9, 12, 20, 24, 36}) {
          for (double dropout : {-0.5, 0.0, 0.5, 1.0}) {
            v1::GptModel gpt;
            gpt.set_style(style);
            gpt.set_layers(1);
            gpt.set_heads(heads);
            gpt.set_kv_heads(kv_heads);
            gpt.set_width(width);
            gpt.set_context(8);
            gpt.set_dropout(dropout);
            const auto recipe = recipe_of(gpt);
            const Status said = validate(recipe);
            const bool can_be_made = make_gpt(recipe.steps(0).train().gpt(), 300).is_ok();
            EXPECT_EQ(said.is_ok(), can_be_made) << gpt.ShortDebugString() << ": " << said.message();
            ++(can_be_made ? made : refused);
          }
        }
      }
    }
  }
  EXPECT_GT(made, 50u);
  EXPECT_GT(refused, 500u);
}

}  // namespace
}  // namespace freshet::worker
