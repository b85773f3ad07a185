// freshet-audit-edits make DIR SEED          a store with an audit log, and DIR/heads: what was kept of it
// freshet-audit-edits edit DIR SEED          one drawn edit, through RocksDB; prints what it did and must be named
// freshet-audit-edits run DIR SCRATCH SEED COUNT
//   COUNT times: a copy of the store in DIR, one edit of it, and the check of the log, which must name the right
//   record. Prints a line for each that is not named and `N edits, F failed`; exits with 1 when there was one.
#include <charconv>
#include <cstdio>
#include <fstream>
#include <map>

#include "base/file.h"
#include "base/log.h"
#include "daemon/store/audit.h"
#include "daemon/store/rocks_kv.h"
#include "daemon/store/writer.h"
#include "proto/json.h"
#include "tests/audit/edits.h"

namespace freshet::audit_edits {
namespace {

namespace fs = std::filesystem;

constexpr int kCommits = 160;
constexpr int kCommitsPerHead = 40;

struct OpenStore {
  std::unique_ptr<RocksKv> kv;
  SystemClock clock;
  std::unique_ptr<Writer> writer;
};

Result<std::unique_ptr<OpenStore>> open_store(const fs::path& dir) {
  auto store = std::make_unique<OpenStore>();
  ASSIGN_OR_RETURN(store->kv, RocksKv::open({.data_directory = dir, .ballast_bytes = 0}));
  store->writer = std::make_unique<Writer>(*store->kv, store->clock);
  return store;
}

Status make(const fs::path& dir, uint64_t seed) {
  SeededRandom random(seed);
  ASSIGN_OR_RETURN(auto store, open_store(dir));
  std::string heads;
  for (int i = 1; i <= kCommits; ++i) {
    Change change;
    change.actor = "actor-" + std::to_string(random.next() % 3);
    change.action = "write " + std::to_string(i);
    change.reason = "because";
    change.audited = random.next() % 5 != 0;
    const std::string key = change.audited ? "k/" + std::to_string(random.next() % 20) : "metric/" + std::to_string(i);
    std::optional<std::string> value;
    if (!change.audited || random.next() % 6 != 0) value = std::string(random.next() % 300, 'v');
    change.writes.push_back({key, std::move(value)});
    RETURN_IF_ERROR(store->writer->commit(std::move(change)).status());
    if (i % kCommitsPerHead != 0) continue;
    ASSIGN_OR_RETURN(v1::AuditHead head, audit_head(*store->writer->snapshot()));
    heads += to_json(head) + "\n";
  }
  return write_file_durably(dir / "heads", heads);
}

Result<std::vector<v1::AuditHead>> read_heads(const fs::path& dir) {
  std::vector<v1::AuditHead> heads;
  std::ifstream lines(dir / "heads");
  for (std::string line; std::getline(lines, line);) RETURN_IF_ERROR(from_json(line, &heads.emplace_back()));
  return heads;
}

Status check(const fs::path& dir, const Edit& edit, const std::vector<v1::AuditHead>& heads) {
  ASSIGN_OR_RETURN(auto store, open_store(dir));
  auto snapshot = store->writer->snapshot();
  for (AuditPosition position;;) {
    ASSIGN_OR_RETURN(AuditPage page, check_audit(*snapshot, position, 50, heads));
    if (page.problem && page.problem->revision() == edit.revision) return Status::ok();
    if (page.problem)
      return corrupt("named revision " + std::to_string(page.problem->revision()) + ": " + page.problem->message());
    if (page.is_done) return corrupt("not seen");
    position = page.position;
  }
}

Result<uint64_t> run_all(const fs::path& dir, const fs::path& scratch, uint64_t seed, uint64_t count) {
  ASSIGN_OR_RETURN(auto heads, read_heads(dir));
  uint64_t failed = 0;
  std::map<std::string, int> kinds;
  for (uint64_t i = seed; i < seed + count; ++i) {
    std::error_code error;
    fs::remove_all(scratch, error);
    fs::copy(dir, scratch, fs::copy_options::recursive, error);
    if (error) return errno_status("copy to " + scratch.string(), error.value());
    SeededRandom random(i);
    ASSIGN_OR_RETURN(Edit edit, make_edit(scratch / "db", heads, random));
    ++kinds[edit.kind];
    Status status = check(scratch, edit, heads);
    if (status.is_ok()) continue;
    ++failed;
    std::printf("seed %llu, %s: %s\n", static_cast<unsigned long long>(i), edit.text.c_str(), status.message().c_str());
  }
  for (const auto& [kind, times] : kinds) std::printf("%s: %d\n", kind.c_str(), times);
  std::printf("%llu edits, %llu failed\n", static_cast<unsigned long long>(count),
              static_cast<unsigned long long>(failed));
  return failed;
}

Result<uint64_t> number(const std::string& text) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return invalid_argument(text + " is not a number");
  return value;
}

Result<int> run(const std::vector<std::string>& arguments) {
  if (arguments.size() == 3 && arguments[0] == "make") {
    ASSIGN_OR_RETURN(uint64_t seed, number(arguments[2]));
    RETURN_IF_ERROR(make(arguments[1], seed));
    return 0;
  }
  if (arguments.size() == 3 && arguments[0] == "edit") {
    ASSIGN_OR_RETURN(uint64_t seed, number(arguments[2]));
    ASSIGN_OR_RETURN(auto heads, read_heads(arguments[1]));
    SeededRandom random(seed);
    ASSIGN_OR_RETURN(Edit edit, make_edit(fs::path(arguments[1]) / "db", heads, random));
    std::printf("%llu %s\n", static_cast<unsigned long long>(edit.revision), edit.text.c_str());
    return 0;
  }
  if (arguments.size() == 5 && arguments[0] == "run") {
    ASSIGN_OR_RETURN(uint64_t seed, number(arguments[3]));
    ASSIGN_OR_RETURN(uint64_t count, number(arguments[4]));
    ASSIGN_OR_RETURN(uint64_t failed, run_all(arguments[1], arguments[2], seed, count));
    return failed == 0 ? 0 : 1;
  }
  return invalid_argument("usage: freshet-audit-edits make DIR SEED | edit DIR SEED | run DIR SCRATCH SEED COUNT");
}

}  // namespace
}  // namespace freshet::audit_edits

int main(int argc, char** argv) {
  freshet::set_log_level(freshet::LogLevel::kError);
  auto code = freshet::audit_edits::run({argv + 1, argv + argc});
  if (code.is_ok()) return *code;
  std::fprintf(stderr, "freshet-audit-edits: %s\n", code.status().to_string().c_str());
  return 2;
}
