// power record KIND ROOT SEED                        the workload, to be run under the recorder
// power cut KIND ROOT LOG SCRATCH SEED COUNT
//   cuts the power COUNT times, each at an instant and under a model that are drawn from the next seed, and checks what
//   is left; ROOT is what the recording left, to see that the log holds all of it. Prints a line for each failure and
//   `N cuts, F failed`; exits with 1 when there was one.
#include <charconv>
#include <cstdio>
#include <functional>
#include <map>

#include "base/log.h"
#include "tests/power/disk.h"
#include "tests/power/workload.h"

namespace freshet::power {
namespace {

namespace fs = std::filesystem;

const std::map<std::string, std::function<std::unique_ptr<Workload>()>, std::less<>>& kinds() {
  static const std::map<std::string, std::function<std::unique_ptr<Workload>()>, std::less<>> kKinds = {
      {"store", make_store_workload},
      {"artifacts", make_artifact_workload},
      {"agent", make_agent_workload},
      {"checkpoints", make_checkpoint_workload},
      {"training", make_training_workload}};
  return kKinds;
}

struct Options {
  std::string kind;
  fs::path root, log, scratch;
  uint64_t seed = 1, count = 1;
};

Result<uint64_t> number(const std::string& text) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return invalid_argument(text + " is not a number");
  return value;
}

// An operation that the recorder missed would make every cut meaningless.
Status check_log_is_whole(const OpLog& log, const fs::path& root) {
  const Disk disk(log, log.ops().size());
  ASSIGN_OR_RETURN(Tree real, read_tree(root));
  const Tree seen = disk.seen();
  for (const auto& [path, content] : real) {
    auto found = seen.find(path);
    if (found == seen.end()) return corrupt("the log does not know " + path);
    if (found->second != content) return corrupt("the log gives other bytes for " + path);
  }
  if (seen.size() == real.size()) return Status::ok();
  return corrupt("the log gives " + std::to_string(seen.size()) + " names, there are " + std::to_string(real.size()));
}

Status cut(Workload& workload, const OpLog& log, const Options& options, uint64_t seed, std::string* what) {
  SeededRandom random(seed);
  const size_t at = random.next() % (log.ops().size() + 1);
  const Model model = random.next() % 2 == 0 ? Model::kStrict : Model::kOrdered;
  *what = name_of(model) + " cut before operation " + std::to_string(at) +
          (at < log.ops().size() ? " (" + describe(log.ops()[at]) + ")" : "");
  const Disk disk(log, at);
  RETURN_IF_ERROR(write_tree(disk.after_cut(model, random), options.scratch));
  return workload.check(options.scratch, disk.acknowledged());
}

Result<uint64_t> cut_all(const Options& options) {
  ASSIGN_OR_RETURN(OpLog log, OpLog::read(options.log));
  RETURN_IF_ERROR(check_log_is_whole(log, options.root));
  auto workload = kinds().at(options.kind)();
  uint64_t failed = 0;
  for (uint64_t seed = options.seed; seed < options.seed + options.count; ++seed) {
    std::string what;
    Status status = cut(*workload, log, options, seed, &what);
    if (status.is_ok()) continue;
    ++failed;
    std::printf("%s, seed %llu, %s: %s\n", options.kind.c_str(), static_cast<unsigned long long>(seed), what.c_str(),
                status.to_string().c_str());
  }
  std::error_code ignored;
  fs::remove_all(options.scratch, ignored);
  std::printf("%llu cuts, %llu failed\n", static_cast<unsigned long long>(options.count),
              static_cast<unsigned long long>(failed));
  return failed;
}

Result<int> run(const std::vector<std::string>& arguments) {
  const Status usage = invalid_argument(
      "usage: power record KIND ROOT SEED | power cut KIND ROOT LOG SCRATCH SEED COUNT; KIND is store, artifacts, "
      "agent, checkpoints or training");
  if (arguments.size() < 4 || !kinds().contains(arguments[1])) return usage;
  Options options{arguments[1], arguments[2], {}, {}, 1, 1};
  if (arguments[0] == "record") {
    ASSIGN_OR_RETURN(options.seed, number(arguments[3]));
    RETURN_IF_ERROR(kinds().at(options.kind)()->record(options.root, options.seed));
    return 0;
  }
  if (arguments[0] != "cut" || arguments.size() != 7) return usage;
  options.log = arguments[3];
  options.scratch = arguments[4];
  ASSIGN_OR_RETURN(options.seed, number(arguments[5]));
  ASSIGN_OR_RETURN(options.count, number(arguments[6]));
  ASSIGN_OR_RETURN(uint64_t failed, cut_all(options));
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace freshet::power

int main(int argc, char** argv) {
  freshet::set_log_level(freshet::LogLevel::kError);
  auto code = freshet::power::run({argv + 1, argv + argc});
  if (code.is_ok()) return *code;
  std::fprintf(stderr, "power: %s\n", code.status().to_string().c_str());
  return 2;
}
