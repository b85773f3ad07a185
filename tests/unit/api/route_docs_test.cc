// docs/API.md has one row for each route, with its method, path, permission and query names, and no other row.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>
#include <sstream>

#include "base/file.h"
#include "daemon/api/agent_hub.h"
#include "tests/paths.h"
#include "tests/unit/api/control_plane.h"

namespace freshet {
namespace {

std::string row_text(const std::string& method, const std::string& path, const std::string& permission,
                     std::vector<std::string> query) {
  std::sort(query.begin(), query.end());
  std::string text = method + " " + path + " " + permission;
  for (const auto& name : query) text += " ?" + name;
  return text;
}

// Rows like: | GET | `/api/v1/runs/{id}` | read | `project`, `page_size` | ...
std::vector<std::string> documented_routes(const std::string& page) {
  static const std::regex kRow(R"(\| ([A-Z]+) \| `(/[^`]*)` \| ([a-z]+) \|([^|]*)\|.*)");
  static const std::regex kName("`([a-z_]+)`");
  std::vector<std::string> rows;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    std::smatch row;
    if (!std::regex_match(line, row, kRow)) continue;
    std::vector<std::string> query;
    const std::string names = row[4];
    for (std::sregex_iterator name(names.begin(), names.end(), kName), end; name != end; ++name) {
      query.push_back((*name)[1]);
    }
    rows.push_back(row_text(row[1], row[2], row[3], query));
  }
  return rows;
}

TEST(RouteDocs, EachRouteHasItsRow) {
  test::ControlPlane plane;
  api::AgentHub agents;
  http::Router router;
  api::add_routes(router, plane.services, agents);
  std::vector<std::string> served;
  for (const http::Route* route : router.routes()) {
    served.push_back(row_text(route->method, route->pattern, std::string(http::permission_name(route->permission)),
                              route->options.query));
  }
  auto page = read_file(std::string(FRESHET_SOURCE_ROOT) + "/docs/API.md");
  ASSERT_TRUE(page.is_ok()) << page.status().to_string();
  EXPECT_THAT(documented_routes(*page), testing::UnorderedElementsAreArray(served));
}

}  // namespace
}  // namespace freshet
