#include "daemon/sources/local_source_hub.h"

#include "base/sha256.h"
#include "daemon/sources/uri.h"

namespace freshet {
namespace {

constexpr uint32_t kPollIntervalMsDefault = 1000;

}  // namespace

void LocalSourceHub::set_sources(const std::vector<v1::Source>& sources) {
  std::map<Key, std::shared_ptr<Watched>> next;
  std::map<Key, std::shared_ptr<Watched>> before;
  {
    std::lock_guard lock(mutex_);
    before = watched_;
  }
  for (const v1::Source& source : sources) {
    Key key{source.metadata().project(), source.metadata().name()};
    auto old = before.find(key);
    bool same = old != before.end() && old->second->spec == source.spec().SerializeAsString();
    if (!same && old != before.end()) {
      // Two fetches into one mirror must not meet: the old watcher ends before the new one starts.
      std::lock_guard lock(mutex_);
      watched_.erase(key);
    }
    std::shared_ptr<Watched> kept = same ? old->second : nullptr;
    if (old != before.end()) before.erase(old);
    next[key] = kept ? kept : start(source);
  }
  {
    std::lock_guard lock(mutex_);
    watched_.swap(next);
  }
}

std::shared_ptr<LocalSourceHub::Watched> LocalSourceHub::start(const v1::Source& source) const {
  auto watched = std::make_shared<Watched>();
  watched->spec = source.spec().SerializeAsString();
  if (source.spec().has_directory()) {
    const v1::DirectorySource& spec = source.spec().directory();
    Result<std::filesystem::path> path = path_of_uri(spec.uri());
    if (!path.is_ok()) {
      watched->problem = path.status().message();
      return watched;
    }
    DirectoryWatcherOptions options;
    options.directory = *path;
    options.glob = spec.glob();
    watched->directory = std::make_unique<DirectoryWatcher>(std::move(options), wake_);
  } else if (source.spec().has_git()) {
    const v1::GitSource& spec = source.spec().git();
    uint32_t interval = spec.poll_interval_ms() == 0 ? kPollIntervalMsDefault : spec.poll_interval_ms();
    // A digest of the name: names of two projects can't meet, and no name can leave the folder.
    std::string folder = Sha256::hex_of(source.metadata().project() + "/" + source.metadata().name()).substr(0, 32);
    watched->git = std::make_unique<GitWatcher>(GitMirror(mirrors_ / folder, spec.uri(), spec.branch()),
                                                Duration::millis(interval), wake_);
  } else {
    watched->problem = "the source is neither a directory nor a git repository";
  }
  return watched;
}

std::shared_ptr<LocalSourceHub::Watched> LocalSourceHub::find(const std::string& project,
                                                              const std::string& name) const {
  std::lock_guard lock(mutex_);
  auto found = watched_.find({project, name});
  return found == watched_.end() ? nullptr : found->second;
}

SourceObservation LocalSourceHub::observe(const std::string& project, const std::string& name) const {
  std::shared_ptr<Watched> watched = find(project, name);
  if (!watched) return {};
  if (watched->directory) return watched->directory->observe();
  if (watched->git) return watched->git->observe();
  SourceObservation observation;
  observation.known = true;
  observation.degraded = true;
  observation.message = watched->problem;
  return observation;
}

Result<std::shared_ptr<LocalSourceHub::Watched>> LocalSourceHub::find_git(const std::string& project,
                                                                          const std::string& name) const {
  std::shared_ptr<Watched> watched = find(project, name);
  if (!watched) return unavailable("source " + name + " is not watched yet; try again in a moment");
  if (!watched->git) return invalid_argument("source " + name + " is not a git repository");
  return watched;
}

Result<std::string> LocalSourceHub::read_file(const std::string& project, const std::string& name,
                                              const std::string& commit, const std::string& path) const {
  ASSIGN_OR_RETURN(std::shared_ptr<Watched> watched, find_git(project, name));
  return watched->git->mirror().read_file(commit, path).with_context("source " + name);
}

Result<std::vector<std::string>> LocalSourceHub::changed_paths(const std::string& project, const std::string& name,
                                                               const std::string& from, const std::string& to) const {
  ASSIGN_OR_RETURN(std::shared_ptr<Watched> watched, find_git(project, name));
  return watched->git->mirror().changed_paths(from, to).with_context("source " + name);
}

}  // namespace freshet
