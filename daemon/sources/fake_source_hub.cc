#include "daemon/sources/fake_source_hub.h"

namespace freshet {

void FakeSourceHub::add_file(const std::string& project, const std::string& name, ObservedFile file) {
  {
    std::lock_guard lock(mutex_);
    worlds_[{project, name}].files[file.uri] = file;
  }
  wake();
}

void FakeSourceHub::remove_file(const std::string& project, const std::string& name, const std::string& uri) {
  {
    std::lock_guard lock(mutex_);
    worlds_[{project, name}].files.erase(uri);
  }
  wake();
}

void FakeSourceHub::set_pending(const std::string& project, const std::string& name, const std::string& uri,
                                bool pending) {
  {
    std::lock_guard lock(mutex_);
    World& world = worlds_[{project, name}];
    if (pending) {
      world.pending.insert(uri);
    } else {
      world.pending.erase(uri);
    }
  }
  wake();
}

void FakeSourceHub::add_commit(const std::string& project, const std::string& name, const std::string& commit,
                               Files files) {
  {
    std::lock_guard lock(mutex_);
    World& world = worlds_[{project, name}];
    world.commits[commit] = std::move(files);
    world.head = commit;
  }
  wake();
}

void FakeSourceHub::set_degraded(const std::string& project, const std::string& name, const std::string& message) {
  {
    std::lock_guard lock(mutex_);
    worlds_[{project, name}].message = message;
  }
  wake();
}

void FakeSourceHub::set_sources(const std::vector<v1::Source>& sources) {
  std::lock_guard lock(mutex_);
  watched_.clear();
  for (const v1::Source& source : sources) watched_.insert({source.metadata().project(), source.metadata().name()});
}

SourceObservation FakeSourceHub::observe(const std::string& project, const std::string& name) const {
  std::lock_guard lock(mutex_);
  SourceObservation observation;
  if (!watched_.contains({project, name})) return observation;
  observation.known = true;
  auto found = worlds_.find({project, name});
  if (found == worlds_.end()) return observation;
  const World& world = found->second;
  observation.degraded = !world.message.empty();
  observation.message = world.message;
  for (const auto& [uri, file] : world.files) observation.files.push_back(file);
  observation.pending_files = world.pending;
  observation.head_commit = world.head;
  return observation;
}

Result<FakeSourceHub::Files> FakeSourceHub::find_commit(const std::string& project, const std::string& name,
                                                        const std::string& commit) const {
  std::lock_guard lock(mutex_);
  auto world = worlds_.find({project, name});
  if (world == worlds_.end() || !watched_.contains({project, name})) {
    return unavailable("source " + name + " is not watched yet; try again in a moment");
  }
  auto found = world->second.commits.find(commit);
  if (found == world->second.commits.end()) return not_found("source " + name + " has no commit " + commit);
  return found->second;
}

Result<std::string> FakeSourceHub::read_file(const std::string& project, const std::string& name,
                                             const std::string& commit, const std::string& path) const {
  ASSIGN_OR_RETURN(Files files, find_commit(project, name, commit));
  auto file = files.find(path);
  if (file == files.end()) return not_found(path + " does not exist in commit " + commit + " of source " + name);
  return file->second;
}

Result<std::vector<std::string>> FakeSourceHub::changed_paths(const std::string& project, const std::string& name,
                                                              const std::string& from, const std::string& to) const {
  Files before;
  if (!from.empty()) {
    ASSIGN_OR_RETURN(before, find_commit(project, name, from));
  }
  ASSIGN_OR_RETURN(Files after, find_commit(project, name, to));
  std::set<std::string> changed;
  for (const auto& [path, content] : after) {
    auto old = before.find(path);
    if (old == before.end() || old->second != content) changed.insert(path);
  }
  for (const auto& [path, content] : before) {
    if (!after.contains(path)) changed.insert(path);
  }
  return std::vector<std::string>(changed.begin(), changed.end());
}

void FakeSourceHub::set_wake(std::function<void()> wake) {
  std::lock_guard lock(mutex_);
  wake_ = std::move(wake);
}

void FakeSourceHub::wake() const {
  std::function<void()> call;
  {
    std::lock_guard lock(mutex_);
    call = wake_;
  }
  if (call) call();
}

}  // namespace freshet
