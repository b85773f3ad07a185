// The simulator's program; scripts/sim calls it. Ranges of seeds are lived in child processes, so that a CHECK in the
// daemon's code fails its seed and not the range.
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <vector>

#include "base/log.h"
#include "tests/sim/life.h"

namespace freshet::sim {
namespace {

struct Options {
  uint64_t from = 1, count = 1, seed = 0;
  unsigned jobs = 1;
  bool trace = false, first = false, all = false;
  std::vector<std::string> points;  // that there are
};

struct Totals {
  uint64_t seeds = 0, events = 0, runs = 0, faults = 0, simulated_s = 0;
  Counts counts, reached, crashed;
  std::map<uint64_t, std::string> failures;
};

// One line a number, so that a child can tell its parent.
void write_totals(const Totals& totals, FILE* out) {
  std::fprintf(out, "T\t%lu\t%lu\t%lu\t%lu\t%lu\n", totals.seeds, totals.events, totals.runs, totals.faults,
               totals.simulated_s);
  for (const auto& [name, count] : totals.counts) std::fprintf(out, "C\t%lu\t%s\n", count, name.c_str());
  for (const auto& [name, count] : totals.reached) std::fprintf(out, "R\t%lu\t%s\n", count, name.c_str());
  for (const auto& [name, count] : totals.crashed) std::fprintf(out, "K\t%lu\t%s\n", count, name.c_str());
  std::fflush(out);
}

void add(Totals* totals, const LifeResult& life) {
  totals->seeds += 1;
  totals->events += life.events;
  totals->runs += life.runs;
  totals->faults += life.faults;
  totals->simulated_s += static_cast<uint64_t>(life.simulated.us) / 1'000'000;
  for (const auto& [name, count] : life.counts) totals->counts[name] += count;
  for (const auto& [name, count] : life.points_reached) totals->reached[name] += count;
  for (const auto& [name, count] : life.points_crashed) totals->crashed[name] += count;
}

// A child: every `jobs`-th seed from `next` on.
void live_range(const Options& options, uint64_t next, FILE* out) {
  Totals totals;
  for (; next < options.from + options.count; next += options.jobs) {
    std::fprintf(out, "S\t%lu\n", next);
    std::fflush(out);
    const LifeResult life = live(next, false);
    add(&totals, life);
    if (!life.failure.empty()) {
      std::fprintf(out, "F\t%lu\t%s\n", next, life.failure.c_str());
      if (options.first) break;
    }
  }
  write_totals(totals, out);
  std::fprintf(out, "E\n");
  std::fflush(out);
}

struct Child {
  pid_t pid = -1;
  FILE* in = nullptr;
  uint64_t seed = 0;  // being lived
  bool ended = false;
};

Child start_child(const Options& options, uint64_t next) {
  int ends[2];
  if (::pipe(ends) != 0) std::exit(2);
  Child child;
  child.seed = next;
  child.pid = ::fork();
  if (child.pid == 0) {
    ::close(ends[0]);
    live_range(options, next, ::fdopen(ends[1], "w"));
    std::_Exit(0);
  }
  ::close(ends[1]);
  child.in = ::fdopen(ends[0], "r");
  return child;
}

// Reads what the child says until it ends.
void read_child(Child* child, Totals* totals) {
  char* line = nullptr;
  size_t size = 0;
  ssize_t length;
  while ((length = ::getline(&line, &size, child->in)) > 0) {
    std::string text(line, static_cast<size_t>(length - 1));
    std::istringstream fields(text.substr(1));
    uint64_t number = 0;
    if (text[0] == 'E') child->ended = true;
    if (text[0] == 'E' || !(fields >> number)) continue;
    std::string rest;
    std::getline(fields >> std::ws, rest);
    if (text[0] == 'S') child->seed = number;
    if (text[0] == 'F') totals->failures[number] = rest;
    if (text[0] == 'C') totals->counts[rest] += number;
    if (text[0] == 'R') totals->reached[rest] += number;
    if (text[0] == 'K') totals->crashed[rest] += number;
    if (text[0] != 'T') continue;
    std::istringstream more(rest);
    uint64_t events = 0, runs = 0, faults = 0, seconds = 0;
    more >> events >> runs >> faults >> seconds;
    totals->seeds += number;
    totals->events += events;
    totals->runs += runs;
    totals->faults += faults;
    totals->simulated_s += seconds;
  }
  std::free(line);
  std::fclose(child->in);
  int status = 0;
  ::waitpid(child->pid, &status, 0);
}

// Returns how many faults and crash points never struck.
size_t print(const Options& options, const Totals& totals) {
  const double seeds = static_cast<double>(std::max<uint64_t>(totals.seeds, 1));
  std::printf("a seed on average: %.1f simulated minutes, %.0f events, %.1f runs, %.1f faults\n",
              static_cast<double>(totals.simulated_s) / 60 / seeds, static_cast<double>(totals.events) / seeds,
              static_cast<double>(totals.runs) / seeds, static_cast<double>(totals.faults) / seeds);
  size_t never = 0;
  for (const auto& [name, count] : totals.counts) {
    std::printf("fault %-45s %lu\n", name.c_str(), count);
    never += count == 0 ? 1 : 0;
  }
  for (const auto& [name, count] : totals.reached) {
    auto crashed = totals.crashed.find(name);
    const uint64_t struck = crashed == totals.crashed.end() ? 0 : crashed->second;
    std::printf("crash point %-39s %lu of %lu\n", name.c_str(), struck, count);
    never += struck == 0 ? 1 : 0;
  }
  std::printf("%zu kinds of faults and %zu crash points, %zu of them never struck\n", totals.counts.size(),
              totals.reached.size(), never);
  for (const auto& [seed, failure] : totals.failures) std::printf("seed %lu: %s\n", seed, failure.c_str());
  std::printf("%lu seeds, %zu failed\n", options.count, totals.failures.size());
  return never;
}

int live_many(const Options& options) {
  Totals totals;
  std::vector<Child> children;
  for (unsigned i = 0; i < options.jobs && i < options.count; ++i) {
    children.push_back(start_child(options, options.from + i));
  }
  for (Child& child : children) {
    read_child(&child, &totals);
    while (!child.ended) {
      totals.failures[child.seed] = "the process ended: a CHECK, see standard error";
      if (options.first || child.seed + options.jobs >= options.from + options.count) break;
      child = start_child(options, child.seed + options.jobs);
      read_child(&child, &totals);
    }
  }
  for (const auto& point : options.points) totals.reached[point] += 0;
  const size_t never = print(options, totals);
  return totals.failures.empty() && (never == 0 || !options.all) ? 0 : 1;
}

int live_one(const Options& options) {
  const LifeResult life = live(options.seed, options.trace);
  if (options.trace) std::cout << life.log;
  if (!life.failure.empty()) std::printf("seed %lu: %s\n", options.seed, life.failure.c_str());
  std::printf("fingerprint %016lx\n1 seeds, %d failed\n", life.fingerprint, life.failure.empty() ? 0 : 1);
  return life.failure.empty() ? 0 : 1;
}

}  // namespace
}  // namespace freshet::sim

int main(int argc, char** argv) {
  freshet::sim::Options options;
  CLI::App app("Lives the whole system in a simulated world, one life a seed, and checks what must hold");
  app.add_option("--from", options.from, "the first seed (default 1)");
  app.add_option("--count", options.count, "how many seeds (default 1)");
  app.add_option("--jobs", options.jobs, "processes at once")->check(CLI::PositiveNumber);
  app.add_option("--seed", options.seed, "this one seed only, as it was lived in a range");
  app.add_flag("--trace", options.trace, "with --seed: print every event");
  app.add_option("--points", options.points, "the names of all crash points, to be told of those never reached");
  app.add_flag("--all-struck", options.all, "fail when a fault or a crash point never struck");
  app.add_flag("--first", options.first, "stop at the first seed that fails");
  CLI11_PARSE(app, argc, argv);
  freshet::set_log_level(freshet::LogLevel::kError);
  if (options.seed != 0) return freshet::sim::live_one(options);
  return freshet::sim::live_many(options);
}
