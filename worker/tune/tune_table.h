// The table of matrix products that freshet-tune keeps in a file: timed on the current device, shape by shape. What is
// in it stays, so that tuning one model changes nothing of another's. Blocking; one thread.
#pragma once

#include <filesystem>
#include <vector>

#include "base/status.h"
#include "kernels/cuda/products.h"

namespace freshet::worker {

struct TunedTable {
  cuda::ProductTable whole;  // as it is in the file now
  cuda::ProductTable added;  // what of it was timed
};

struct TuneOptions {
  bool again = false;    // time what is in the table, too, and put it in its place
  bool with_own = true;  // as tune_products()
};

// Times those of `shapes` that the file lacks, or all, and writes it after each, so that a tuning that was ended goes
// on. unavailable, before anything is timed, when the file is of another device or library; invalid_argument when it is
// no table.
Result<TunedTable> tune_into(const std::filesystem::path& file, const std::vector<cuda::ProductShape>& shapes,
                             const TuneOptions& options = {});

}  // namespace freshet::worker
