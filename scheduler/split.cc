#include "scheduler/split.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "scheduler/text.h"

namespace freshet::scheduler {

Result<Split> split_entries(const v1::InputSpec& input, std::vector<v1::EntryRecord> accepted) {
  std::sort(accepted.begin(), accepted.end(), [](const auto& a, const auto& b) {
    return std::forward_as_tuple(a.entry().uri(), b.order()) < std::forward_as_tuple(b.entry().uri(), a.order());
  });
  // The same rows in the training set and in the holdout would make the evaluation worthless.
  std::vector<const v1::EntryRecord*> distinct;
  std::set<std::string> contents;
  for (const auto& record : accepted) {
    if (!distinct.empty() && distinct.back()->entry().uri() == record.entry().uri()) continue;
    if (contents.insert(record.entry().sha256()).second) distinct.push_back(&record);
  }
  size_t held_out = std::max<size_t>(input.holdout_newest_entries(), 1);
  if (distinct.size() <= held_out) {
    return invalid_argument("input " + input.name() + " has " + counted(distinct.size(), "accepted entry") +
                            "; at least " + std::to_string(held_out + 1) + " are needed, as the newest " +
                            std::to_string(held_out) + (held_out == 1 ? " is" : " are") + " held out for evaluation");
  }
  size_t trained_on = distinct.size() - held_out;
  if (input.window_newest_entries() > 0) trained_on = std::min<size_t>(trained_on, input.window_newest_entries());
  Split split;
  for (size_t i = distinct.size() - held_out - trained_on; i < distinct.size(); ++i) {
    split.entries.push_back(distinct[i]->entry());
    split.rows += distinct[i]->profile().rows();
    if (i >= distinct.size() - held_out) split.holdout.push_back(distinct[i]->entry().uri());
  }
  return split;
}

}  // namespace freshet::scheduler
