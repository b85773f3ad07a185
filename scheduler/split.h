// Which accepted entries a run trains on and which it is judged on. Pure; any thread. "Newest" is by URI, so partitions
// named by date divide by date whatever order they arrived in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "proto/dataset.pb.h"
#include "proto/pipeline.pb.h"

namespace freshet::scheduler {

struct Split {
  std::vector<v1::DatasetEntry> entries;  // trained on and held out, sorted by URI
  std::vector<std::string> holdout;       // URIs among them, sorted; never empty
  uint64_t rows = 0;                      // of all entries
};

// The newest holdout_newest_entries (at least 1) are held out; of those before them the newest window_newest_entries
// (0: all) are trained on. A URI that was replaced counts once, with the content of the highest order; content that
// lies under several URIs counts once, under the lowest. invalid_argument when nothing is left to train on.
Result<Split> split_entries(const v1::InputSpec& input, std::vector<v1::EntryRecord> accepted);

}  // namespace freshet::scheduler
