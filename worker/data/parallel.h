// Runs a job for every index, spread over some threads, the caller's among them. Which thread takes which index is left
// open, so a job must write only to what belongs to its index. Exceptions become the job's Status.
#pragma once

#include <cstddef>
#include <functional>

#include "base/status.h"

namespace freshet::worker {

// The error of the lowest index that failed, or ok. All jobs run even when one fails, so that the answer does not
// depend on timing. At least one thread.
Status for_each_index(size_t count, unsigned threads, const std::function<Status(size_t)>& job);

}  // namespace freshet::worker
