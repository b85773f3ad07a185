#include "worker/data/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

namespace freshet::worker {
namespace {

Status run_one(const std::function<Status(size_t)>& job, size_t index) {
  try {
    return job(index);
  } catch (const std::bad_alloc&) {
    return resource_exhausted("not enough memory");
  } catch (const std::system_error& e) {
    return resource_exhausted(e.what());
  } catch (const std::exception& e) {
    return internal(e.what());
  }
}

}  // namespace

Status for_each_index(size_t count, unsigned threads, const std::function<Status(size_t)>& job) {
  std::vector<Status> results(count);
  std::atomic<size_t> next = 0;
  auto work = [&] {
    for (size_t index = next++; index < count; index = next++) results[index] = run_one(job, index);
  };
  {
    std::vector<std::jthread> helpers;
    for (size_t i = 1; i < std::min<size_t>(threads, count); ++i) helpers.emplace_back(work);
    work();
  }
  for (auto& result : results) RETURN_IF_ERROR(result);
  return Status::ok();
}

}  // namespace freshet::worker
