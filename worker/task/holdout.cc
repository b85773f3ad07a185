#include "worker/task/holdout.h"

#include <map>
#include <set>

#include "worker/data/table.h"

namespace freshet::worker {
namespace {

// A model that was trained on what it is now examined in would look better than it is.
Status check_disjoint(const v1::DatasetVersion& holdout, const v1::EvaluateTask& task) {
  for (const auto& trained_on : task.trained_on()) {
    std::set<std::string> uris;
    std::map<std::string, std::string> uri_of_content;
    for (const auto& entry : trained_on.entries()) {
      uris.insert(entry.uri());
      if (!entry.sha256().empty()) uri_of_content.emplace(entry.sha256(), entry.uri());
    }
    for (const auto& entry : holdout.entries()) {
      if (uris.contains(entry.uri())) {
        return invalid_argument("the holdout's entry '" + entry.uri() + "' is one that " + trained_on.version() +
                                " was trained on");
      }
      auto same = uri_of_content.find(entry.sha256());
      if (same != uri_of_content.end()) {
        return invalid_argument("the holdout's entry '" + entry.uri() + "' has the same content as '" + same->second +
                                "', which " + trained_on.version() + " was trained on");
      }
    }
  }
  return Status::ok();
}

}  // namespace

Result<v1::DatasetVersion> holdout_of(const v1::EvaluateTask& task) {
  if (task.holdout().empty()) return invalid_argument("the holdout is empty");
  ASSIGN_OR_RETURN(auto holdout, only_entries(task.data(), {task.holdout().begin(), task.holdout().end()}));
  RETURN_IF_ERROR(check_disjoint(holdout, task));
  return holdout;
}

}  // namespace freshet::worker
