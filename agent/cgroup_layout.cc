#include "agent/cgroup_layout.h"

#include <set>
#include <sstream>

namespace freshet::agent {
namespace {

// The words of "rw,pids" that name controllers.
std::set<std::string> controllers_of(const std::string& options) {
  std::set<std::string> found;
  std::istringstream words(options);
  for (std::string word; std::getline(words, word, ',');) {
    // "name=systemd" is a hierarchy without a controller; the rest are options of the mount.
    if (word != "rw" && word != "ro" && word != "xattr" && word != "clone_children" && word != "noprefix" &&
        word.find('=') == std::string::npos) {
      found.insert(word);
    }
  }
  return found;
}

}  // namespace

CgroupLayout find_cgroups(const std::string& mountinfo) {
  CgroupLayout layout;
  std::istringstream lines(mountinfo);
  std::string line;
  while (std::getline(lines, line)) {
    // "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw": the type stands behind the lone dash.
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream before(line.substr(0, dash));
    std::string id, parent, device, root, point;
    before >> id >> parent >> device >> root >> point;
    std::istringstream after(line.substr(dash + 3));
    std::string type, source, options;
    after >> type >> source >> options;
    const bool is_whole_tree = root == "/" && !point.empty();
    if (type == "cgroup2" && is_whole_tree && !layout.unified) layout.unified = point;
    if (type != "cgroup") continue;
    const std::set<std::string> controllers = controllers_of(options);
    layout.is_hybrid |= !controllers.empty();
    if (controllers.contains("pids") && is_whole_tree) layout.pids = point;
  }
  return layout;
}

}  // namespace freshet::agent
