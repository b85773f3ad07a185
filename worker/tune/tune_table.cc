#include "worker/tune/tune_table.h"

#include <set>
#include <string>

#include "base/file.h"
#include "kernels/cuda/device.h"

namespace freshet::worker {
namespace {

Result<cuda::ProductTable> read_table(const std::filesystem::path& file) {
  ASSIGN_OR_RETURN(auto device, cuda::device_properties());
  cuda::ProductTable none{{}, std::move(device.name), cuda::Products::library()};
  auto text = read_file(file);
  if (text.status().code() == Code::kNotFound) return none;
  RETURN_IF_ERROR(text.status());
  ASSIGN_OR_RETURN(auto table, cuda::ProductTable::of_text(*text).with_context(file.string()));
  RETURN_IF_ERROR(table.check_made_for(none.device, none.library).with_context(file.string()));
  return table;
}

}  // namespace

Result<TunedTable> tune_into(const std::filesystem::path& file, const std::vector<cuda::ProductShape>& shapes,
                             const TuneOptions& options) {
  TunedTable tuned;
  ASSIGN_OR_RETURN(tuned.whole, read_table(file));
  for (const auto& shape : std::set<cuda::ProductShape>(shapes.begin(), shapes.end())) {
    if (!options.again && tuned.whole.find(shape).is_ok()) continue;
    ASSIGN_OR_RETURN(const auto one, cuda::tune_products({shape}, options.with_own));
    tuned.added.add(one.entries);
    tuned.whole.add(one.entries);
    RETURN_IF_ERROR(write_file_durably(file, tuned.whole.to_text()));
  }
  return tuned;
}

}  // namespace freshet::worker
