// Whether a document can be carried out, as far as it says so itself: names, graphs, bounds, exactly-one-of. What needs
// other documents or the world (does the source exist, is the cron schedule one) is checked where they are known.
// Expects defaults to be filled in (defaults.h). Any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "proto/pipeline.pb.h"
#include "proto/recipe.pb.h"
#include "proto/webhook.pb.h"

namespace freshet {

struct Mistake {
  std::string path;     // "spec.gates[0].absolute.metric"
  std::string message;  // what to change
};

// All mistakes, in the order of the document.
std::vector<Mistake> mistakes_of(const v1::Pipeline& pipeline);
std::vector<Mistake> mistakes_of(const v1::Source& source);
std::vector<Mistake> mistakes_of(const v1::Trigger& trigger);
std::vector<Mistake> mistakes_of(const v1::Webhook& webhook);
// `path` is where the recipe lies: "spec" in a document of its own, "spec.recipe" inside a pipeline.
std::vector<Mistake> mistakes_of(const v1::Recipe& recipe, const std::string& path = "spec");

// invalid_argument with every mistake as "path: message", joined by "; ".
Status validate(const v1::Pipeline& pipeline);
Status validate(const v1::Source& source);
Status validate(const v1::Trigger& trigger);
Status validate(const v1::Webhook& webhook);
Status validate(const v1::Recipe& recipe);

// Lower-case letters, digits and '-', at most 63, beginning and ending with a letter or digit.
bool is_name(std::string_view text);

}  // namespace freshet
