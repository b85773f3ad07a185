#include "daemon/store/keys.h"

#include <cctype>
#include <charconv>
#include <cstdio>
#include <initializer_list>
#include <limits>
#include <vector>

#include "base/check.h"

namespace freshet::keys {
namespace {

bool is_plain(unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_' || c == '~'; }

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string number(uint64_t value) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%020llu", static_cast<unsigned long long>(value));
  return digits;
}

std::string number(Time time) { return number(static_cast<uint64_t>(time.us < 0 ? 0 : time.us)); }

std::string join(std::string_view kind, std::initializer_list<std::string_view> parts) {
  std::string key(kind);
  for (std::string_view part : parts) {
    key += '/';
    key += escape(part);
  }
  return key;
}

std::string prefix(std::string_view kind, std::initializer_list<std::string_view> parts = {}) {
  return join(kind, parts) + '/';
}

std::vector<std::string_view> split(std::string_view key) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0, end = 0; end != std::string_view::npos; begin = end + 1) {
    end = key.find('/', begin);
    parts.push_back(key.substr(begin, end == std::string_view::npos ? end : end - begin));
  }
  return parts;
}

uint64_t number_of(std::string_view digits) {
  uint64_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value;
}

// Highest first: what is written is how far below this a priority is.
constexpr int64_t kPriorityMax = std::numeric_limits<int32_t>::max();

// The kinds whose keys are counted, by kind and as many parts after it.
struct Counted {
  std::string_view kind;
  size_t parts = 0;
};
constexpr Counted kCounted[] = {{"run_by_state/", 2}, {"ready_step/", 1}};

}  // namespace

std::string escape(std::string_view part) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(part.size());
  for (char c : part) {
    auto byte = static_cast<unsigned char>(c);
    if (is_plain(byte)) {
      out += c;
    } else {
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  return out;
}

std::string unescape(std::string_view part) {
  std::string out;
  out.reserve(part.size());
  for (size_t i = 0; i < part.size(); ++i) {
    if (part[i] == '%' && i + 2 < part.size() && hex_value(part[i + 1]) >= 0 && hex_value(part[i + 2]) >= 0) {
      out += static_cast<char>(hex_value(part[i + 1]) * 16 + hex_value(part[i + 2]));
      i += 2;
    } else {
      out += part[i];
    }
  }
  return out;
}

std::string last_part(std::string_view key) { return unescape(key.substr(key.rfind('/') + 1)); }

std::string pipelines() { return prefix("pipeline"); }
std::string pipelines(std::string_view project) { return prefix("pipeline", {project}); }
std::string pipeline(std::string_view project, std::string_view name) { return join("pipeline", {project, name}); }
std::string pipeline_versions(std::string_view project, std::string_view name) {
  return prefix("pipeline_version", {project, name});
}
std::string pipeline_version(std::string_view project, std::string_view name, uint64_t version) {
  return join("pipeline_version", {project, name, number(version)});
}
std::string pipeline_codes() { return prefix("pipeline_code"); }
std::string pipeline_code(std::string_view project, std::string_view name) {
  return join("pipeline_code", {project, name});
}
std::string sources() { return prefix("source"); }
std::string sources(std::string_view project) { return prefix("source", {project}); }
std::string source(std::string_view project, std::string_view name) { return join("source", {project, name}); }
std::string source_status(std::string_view project, std::string_view name) {
  return join("source_status", {project, name});
}
std::string triggers() { return prefix("trigger"); }
std::string triggers(std::string_view project) { return prefix("trigger", {project}); }
std::string trigger(std::string_view project, std::string_view name) { return join("trigger", {project, name}); }
std::string trigger_state(std::string_view project, std::string_view name) {
  return join("trigger_state", {project, name});
}

std::string datasets(std::string_view project) { return prefix("dataset", {project}); }
std::string dataset(std::string_view project, std::string_view digest) { return join("dataset", {project, digest}); }
std::string entries(std::string_view project, std::string_view pipeline, std::string_view input) {
  return prefix("entry", {project, pipeline, input});
}
std::string entries_of_uri(std::string_view project, std::string_view pipeline, std::string_view input,
                           std::string_view uri) {
  return prefix("entry", {project, pipeline, input, uri});
}
std::string entry(std::string_view project, std::string_view pipeline, std::string_view input, std::string_view uri,
                  std::string_view sha256) {
  return join("entry", {project, pipeline, input, uri, sha256});
}
std::string entry_counter(std::string_view project, std::string_view pipeline, std::string_view input) {
  return join("entry_counter", {project, pipeline, input});
}
std::string inspections(std::string_view project) { return prefix("inspection", {project}); }
std::string inspection(std::string_view project, std::string_view id) { return join("inspection", {project, id}); }
std::string pending_inspections() { return prefix("pending_inspection"); }
std::string pending_inspection(std::string_view project, std::string_view id) {
  return join("pending_inspection", {project, id});
}

std::string runs(std::string_view project) { return prefix("run", {project}); }
std::string run(std::string_view project, std::string_view id) { return join("run", {project, id}); }
std::string runs_by_time(std::string_view project) { return prefix("run_by_time", {project}); }
std::string run_by_time(std::string_view project, Time created, std::string_view id) {
  return join("run_by_time", {project, number(created), id});
}
std::string runs_by_pipeline(std::string_view project, std::string_view pipeline) {
  return prefix("run_by_pipeline", {project, pipeline});
}
std::string run_by_pipeline(std::string_view project, std::string_view pipeline, Time created, std::string_view id) {
  return join("run_by_pipeline", {project, pipeline, number(created), id});
}
std::string runs_by_state() { return prefix("run_by_state"); }
std::string runs_by_state(std::string_view project, std::string_view state) {
  return prefix("run_by_state", {project, state});
}
std::string run_by_state(std::string_view project, std::string_view state, Time created, std::string_view id) {
  return join("run_by_state", {project, state, number(created), id});
}
std::string runs_by_pipeline_state(std::string_view project, std::string_view pipeline, std::string_view state) {
  return prefix("run_by_pipeline_state", {project, pipeline, state});
}
std::string run_by_pipeline_state(std::string_view project, std::string_view pipeline, std::string_view state,
                                  Time created, std::string_view id) {
  return join("run_by_pipeline_state", {project, pipeline, state, number(created), id});
}
std::string due_runs() { return prefix("due_run"); }
std::string due_run(std::string_view project, std::string_view id) { return join("due_run", {project, id}); }
std::string ready_steps() { return prefix("ready_step"); }
std::string ready_steps(uint32_t slots) { return prefix("ready_step", {number(slots)}); }
std::string ready_step(uint32_t slots, int32_t priority, Time ready, std::string_view project, std::string_view run_id,
                       std::string_view step) {
  return join("ready_step", {number(slots), number(static_cast<uint64_t>(kPriorityMax - priority)), number(ready),
                             project, run_id, step});
}
uint32_t slots_of_lane(std::string_view prefix) { return static_cast<uint32_t>(number_of(split(prefix).at(1))); }
ReadyStep parse_ready_step(std::string_view key) {
  std::vector<std::string_view> parts = split(key);
  CHECK_MSG(parts.size() == 7, "not the key of a ready step: " + std::string(key));
  ReadyStep ready;
  ready.slots = static_cast<uint32_t>(number_of(parts[1]));
  ready.priority = static_cast<int32_t>(kPriorityMax - static_cast<int64_t>(number_of(parts[2])));
  ready.ready = Time{static_cast<int64_t>(number_of(parts[3]))};
  ready.step = unescape(parts[6]);
  return ready;
}

std::string work(const v1::WorkRef& work) {
  if (!work.inspection_id().empty()) {
    return escape(work.project()) + join("/inspection", {work.inspection_id()});
  }
  return escape(work.project()) + join("/run", {work.run_id(), work.step()});
}
std::string attempts(const v1::WorkRef& work) { return "attempt/" + keys::work(work) + "/"; }
std::string attempt(const v1::WorkRef& work, uint64_t epoch) { return attempts(work) + number(epoch); }
std::string attempts_of_run(std::string_view project, std::string_view run_id) {
  return prefix("attempt", {project, "run", run_id});
}
std::string attempt_spec(const v1::WorkRef& work, uint64_t epoch) {
  return "attempt_spec/" + keys::work(work) + "/" + number(epoch);
}
std::string active_attempts() { return prefix("active_attempt"); }
std::string active_attempt(const v1::WorkRef& work, uint64_t epoch) {
  return active_attempts() + keys::work(work) + "/" + number(epoch);
}

std::string metric_chunks(std::string_view project, std::string_view run_id) {
  return prefix("metric", {project, run_id});
}
std::string metric_chunk(std::string_view project, std::string_view run_id, uint64_t sequence) {
  return join("metric", {project, run_id, number(sequence)});
}
std::string latest_metrics(std::string_view project, std::string_view run_id) {
  return join("latest_metrics", {project, run_id});
}

std::string nodes() { return prefix("node"); }
std::string node(std::string_view name) { return join("node", {name}); }
std::string gangs() { return prefix("gang"); }
std::string gang(std::string_view gang_id) { return join("gang", {gang_id}); }
std::string journal_position(std::string_view gang_id) { return join("journal_position", {gang_id}); }
std::string metrics_position(std::string_view gang_id) { return join("metrics_position", {gang_id}); }

std::string artifacts() { return prefix("artifact"); }
std::string artifact(std::string_view digest) { return join("artifact", {digest}); }
std::string artifact_use(std::string_view digest) { return join("artifact_use", {digest}); }
std::string collected_artifact(std::string_view digest) { return join("collected_artifact", {digest}); }
std::string gc_round() { return join("gc_round", {"last"}); }
std::string models() { return prefix("model"); }
std::string models(std::string_view project) { return prefix("model", {project}); }
std::string model(std::string_view project, std::string_view name) { return join("model", {project, name}); }
std::string model_versions(std::string_view project, std::string_view model) {
  return prefix("model_version", {project, model});
}
std::string model_version(std::string_view project, std::string_view model, uint64_t version) {
  return join("model_version", {project, model, number(version)});
}
std::string aliases(std::string_view project, std::string_view model) { return prefix("alias", {project, model}); }
std::string alias(std::string_view project, std::string_view model, std::string_view alias) {
  return join("alias", {project, model, alias});
}
std::string alias_moves(std::string_view project, std::string_view model) {
  return prefix("alias_move", {project, model});
}
std::string alias_moves(std::string_view project, std::string_view model, std::string_view alias) {
  return prefix("alias_move", {project, model, alias});
}
std::string alias_move(std::string_view project, std::string_view model, std::string_view alias, uint64_t revision) {
  return join("alias_move", {project, model, alias, number(revision)});
}

std::string outbox() { return prefix("outbox"); }
std::string outbox_event(uint64_t revision, uint64_t index) {
  return join("outbox", {number(revision), number(index)});
}
std::string webhooks() { return prefix("webhook"); }
std::string webhooks(std::string_view project) { return prefix("webhook", {project}); }
std::string webhook(std::string_view project, std::string_view name) { return join("webhook", {project, name}); }
std::string webhook_state(std::string_view project, std::string_view name) {
  return join("webhook_state", {project, name});
}
std::string dead_letters(std::string_view project) { return prefix("dead_letter", {project}); }
std::string dead_letters(std::string_view project, std::string_view webhook) {
  return prefix("dead_letter", {project, webhook});
}
std::string dead_letter(std::string_view project, std::string_view webhook, std::string_view event_key) {
  return join("dead_letter", {project, webhook, event_key});
}
std::string redeliveries(std::string_view project, std::string_view webhook) {
  return prefix("redelivery", {project, webhook});
}
std::string redelivery(std::string_view project, std::string_view webhook, std::string_view event_key) {
  return join("redelivery", {project, webhook, event_key});
}

std::string kept_answer(std::string_view actor, std::string_view idempotency_key) {
  return join("kept_answer", {actor, idempotency_key});
}
std::string answers_by_time() { return prefix("answer_by_time"); }
std::string answer_by_time(Time answered, std::string_view actor, std::string_view idempotency_key) {
  return join("answer_by_time", {number(answered), actor, idempotency_key});
}
std::string counter(std::string_view name) { return join("counter", {name}); }
std::string daemon_term() { return "daemon/term"; }

std::string audits() { return prefix("audit"); }
std::string audit(uint64_t revision) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(revision));
  return prefix("audit") + digits;
}
std::string last_commit() { return "meta/last"; }
std::string count(std::string_view prefix) { return "meta/count/" + std::string(prefix); }
std::string_view counted_prefix(std::string_view key) {
  for (const Counted& counted : kCounted) {
    if (!key.starts_with(counted.kind)) continue;
    size_t end = counted.kind.size();
    for (size_t i = 0; i < counted.parts && end != 0; ++i) end = key.find('/', end) + 1;
    return key.substr(0, end);
  }
  return {};
}
bool is_reserved(std::string_view key) { return key.starts_with("audit/") || key.starts_with("meta/"); }

}  // namespace freshet::keys
