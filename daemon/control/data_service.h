// DataService: the entries of a pipeline's inputs, and what a person decides about those in quarantine. Called by API
// handlers, from any thread.
#pragma once

#include <string>

#include "daemon/control/answers.h"
#include "daemon/control/context.h"
#include "daemon/control/paging.h"
#include "proto/api.pb.h"

namespace freshet::control {

class DataService {
 public:
  explicit DataService(Context& context) : context_(context) {}

  // `state`: "QUARANTINED" and so on; empty: all.
  Result<v1::ListEntriesResponse> list_entries(const std::string& project, const std::string& pipeline,
                                               const std::string& input, const std::string& state,
                                               const PageRequest& page);
  // Releases or discards quarantined entries: all named ones or none. No URIs: every quarantined entry of the input.
  Result<v1::ListEntriesResponse> decide(const Caller& caller, const std::string& project, const std::string& pipeline,
                                         const std::string& input, const v1::DecideEntriesRequest& request);
  Result<v1::DatasetVersion> get_dataset(const std::string& project, const std::string& digest);

 private:
  Status check_input(const Snapshot& snapshot, const std::string& project, const std::string& pipeline,
                     const std::string& input);

  Context& context_;
};

}  // namespace freshet::control
