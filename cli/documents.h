// The files that `freshet apply` and `freshet diff` name, as one request. Blocking; any thread.
#pragma once

#include <istream>
#include <string>
#include <vector>

#include "base/status.h"
#include "proto/api.pb.h"
#include "proto/yaml.h"

namespace freshet::cli {

// Files, directories (their *.yaml and *.yml, in name order, not what lies deeper) and "-" for `standard_input`. Every
// document is checked with its file and line; the mistakes of all files come together. `project` is given to documents
// that name none.
Result<v1::ApplyRequest> load_request(const std::vector<std::string>& paths, const YamlVariables& variables,
                                      const std::string& project, std::istream& standard_input);

// "NAME=VALUE" pairs.
Result<YamlVariables> parse_variables(const std::vector<std::string>& pairs);

}  // namespace freshet::cli
