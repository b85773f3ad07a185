#include "daemon/sources/git_mirror.h"

#include <git2.h>

#include <algorithm>
#include <memory>
#include <set>

#include "base/crash_point.h"
#include "base/file.h"
#include "daemon/sources/uri.h"

namespace freshet {
namespace {

namespace fs = std::filesystem;

// One reference of our own, so that branches a and a/b of two configurations never collide in the mirror.
constexpr const char* kHeadReference = "refs/freshet/head";
constexpr size_t kFileBytesMax = 16 << 20;
constexpr size_t kBranchesNamedMax = 10;

template <class T, void (*Free)(T*)>
struct Freed {
  void operator()(T* object) const { Free(object); }
};
template <class T, void (*Free)(T*)>
using Owned = std::unique_ptr<T, Freed<T, Free>>;
using Repository = Owned<git_repository, git_repository_free>;
using Remote = Owned<git_remote, git_remote_free>;
using Commit = Owned<git_commit, git_commit_free>;
using Tree = Owned<git_tree, git_tree_free>;
using TreeEntry = Owned<git_tree_entry, git_tree_entry_free>;
using Blob = Owned<git_blob, git_blob_free>;
using Diff = Owned<git_diff, git_diff_free>;

// The library is set up once and lives as long as the process.
void start_library() {
  static const int kStarted = git_libgit2_init();
  CHECK(kStarted > 0);
}

std::string last_error() {
  const git_error* error = git_error_last();
  return error != nullptr && error->message != nullptr ? error->message : "no reason given";
}

// A libgit2 call that failed with `code`, as a Status.
Status git_status(int code, const std::string& what) {
  std::string message = what + ": " + last_error();
  if (code == GIT_ENOTFOUND) return not_found(message);
  if (code == GIT_EUSER) return cancelled(message);
  return unavailable(message);
}

Result<Repository> open_repository(const fs::path& directory) {
  start_library();
  git_repository* opened = nullptr;
  int code = git_repository_open_bare(&opened, directory.c_str());
  if (code != 0) return git_status(code, "opening the mirror " + directory.string());
  return Repository(opened);
}

// A process that was killed while it wrote to the mirror leaves its locks, and libgit2 respects them for ever. Only one
// thread of one daemon ever writes to a mirror.
Status remove_locks(const fs::path& directory) {
  for (const fs::path& folder : {directory, directory / "refs"}) {
    std::error_code error;
    for (auto item = fs::recursive_directory_iterator(folder, error); item != fs::recursive_directory_iterator();
         item.increment(error)) {
      if (error) break;
      if (folder == directory && item->is_directory(error)) item.disable_recursion_pending();
      if (item->path().extension() == ".lock") fs::remove(item->path(), error);
    }
    if (error && error != std::errc::no_such_file_or_directory) {
      return unavailable("removing old locks below " + folder.string() + ": " + error.message());
    }
  }
  return Status::ok();
}

Result<Repository> make_repository(const fs::path& directory) {
  RETURN_IF_ERROR(make_directories(directory));
  RETURN_IF_ERROR(remove_locks(directory));
  Result<Repository> opened = open_repository(directory);
  if (opened.is_ok()) return opened;
  git_repository* made = nullptr;
  CRASH_POINT("git.mirror.before_make");
  int code = git_repository_init(&made, directory.c_str(), /*is_bare=*/1);
  CRASH_POINT("git.mirror.after_make");
  if (code != 0) return git_status(code, "making the mirror " + directory.string());
  return Repository(made);
}

Result<Commit> find_commit(git_repository* repository, const std::string& id) {
  git_oid oid;
  if (id.size() != GIT_OID_HEXSZ || git_oid_fromstr(&oid, id.c_str()) != 0) {
    return invalid_argument("'" + id.substr(0, 100) + "' is not a commit id: 40 hex digits expected");
  }
  git_commit* commit = nullptr;
  if (git_commit_lookup(&commit, repository, &oid) != 0) {
    return not_found("commit " + id + " is not in what was fetched");
  }
  return Commit(commit);
}

Result<Tree> tree_of(git_repository* repository, const std::string& id) {
  ASSIGN_OR_RETURN(Commit commit, find_commit(repository, id));
  git_tree* tree = nullptr;
  int code = git_commit_tree(&tree, commit.get());
  if (code != 0) return git_status(code, "reading commit " + id);
  return Tree(tree);
}

std::string hex_of(const git_oid& oid) {
  char text[GIT_OID_HEXSZ + 1];
  git_oid_tostr(text, sizeof text, &oid);
  return text;
}

// The head of the branch among what the remote has, or the Status that names what it has instead.
Result<git_oid> find_branch(git_remote* remote, const std::string& branch) {
  const git_remote_head** heads = nullptr;
  size_t count = 0;
  int code = git_remote_ls(&heads, &count, remote);
  if (code != 0) return git_status(code, "listing the branches");
  constexpr std::string_view kBranches = "refs/heads/";
  std::vector<std::string> names;
  for (size_t i = 0; i < count; ++i) {
    std::string_view name = heads[i]->name;
    if (!name.starts_with(kBranches)) continue;
    name.remove_prefix(kBranches.size());
    if (name == branch) return heads[i]->oid;
    names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  std::string listed;
  for (size_t i = 0; i < names.size() && i < kBranchesNamedMax; ++i) listed += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kBranchesNamedMax) listed += " and " + std::to_string(names.size() - kBranchesNamedMax) + " more";
  return not_found("branch '" + branch + "' not found; the repository has" +
                   (names.empty() ? " no branches" : ": " + listed));
}

int on_transfer(const git_indexer_progress*, void* payload) {
  return static_cast<const std::atomic<bool>*>(payload)->load() ? GIT_EUSER : 0;
}

int on_sideband(const char*, int, void* payload) { return on_transfer(nullptr, payload); }

}  // namespace

GitMirror::GitMirror(fs::path directory, std::string uri, std::string branch)
    : directory_(std::move(directory)), uri_(std::move(uri)), branch_(std::move(branch)) {}

Result<std::string> GitMirror::fetch(const std::atomic<bool>& stop) const {
  start_library();
  if (Result<fs::path> local = path_of_uri(uri_); local.is_ok()) {
    std::error_code ignored;
    if (!fs::exists(*local, ignored)) return not_found("repository " + local->string() + " does not exist");
  }
  ASSIGN_OR_RETURN(Repository repository, make_repository(directory_));
  git_remote* made = nullptr;
  git_remote_create_options create = GIT_REMOTE_CREATE_OPTIONS_INIT;
  create.repository = repository.get();
  // Rewriting URLs by configuration leaks 20 KiB for each entry that does not match, in libgit2 1.5: at each look.
  create.flags = GIT_REMOTE_CREATE_SKIP_INSTEADOF | GIT_REMOTE_CREATE_SKIP_DEFAULT_FETCHSPEC;
  int code = git_remote_create_with_opts(&made, uri_.c_str(), &create);
  if (code != 0) return git_status(code, "repository " + uri_);
  Remote remote(made);

  git_fetch_options options = GIT_FETCH_OPTIONS_INIT;
  options.download_tags = GIT_REMOTE_DOWNLOAD_TAGS_NONE;
  options.update_fetchhead = 0;
  options.callbacks.transfer_progress = on_transfer;
  options.callbacks.sideband_progress = on_sideband;
  options.callbacks.payload = const_cast<std::atomic<bool>*>(&stop);
  CRASH_POINT("git.fetch.before_connect");
  code = git_remote_connect(remote.get(), GIT_DIRECTION_FETCH, &options.callbacks, nullptr, nullptr);
  if (code != 0) return git_status(code, "repository " + uri_ + " can't be fetched");
  ASSIGN_OR_RETURN(git_oid head, find_branch(remote.get(), branch_));
  git_remote_disconnect(remote.get());
  std::string commit = hex_of(head);
  if (commit == known_head()) return commit;

  std::string refspec = "+refs/heads/" + branch_ + ":" + kHeadReference;
  char* specs[] = {refspec.data()};
  git_strarray refspecs{specs, 1};
  CRASH_POINT("git.fetch.before_transfer");
  code = git_remote_fetch(remote.get(), &refspecs, &options, nullptr);
  CRASH_POINT("git.fetch.after_transfer");
  if (code != 0) return git_status(code, "repository " + uri_ + " can't be fetched");
  std::string fetched = known_head();  // the branch may have moved on since it was listed
  if (fetched.empty()) return unavailable("repository " + uri_ + " sent no commit for branch '" + branch_ + "'");
  return fetched;
}

std::string GitMirror::known_head() const {
  Result<Repository> repository = open_repository(directory_);
  git_oid oid;
  if (!repository.is_ok() || git_reference_name_to_id(&oid, repository->get(), kHeadReference) != 0) return {};
  return hex_of(oid);
}

Result<std::string> GitMirror::read_file(const std::string& commit, const std::string& path) const {
  ASSIGN_OR_RETURN(Repository repository, open_repository(directory_));
  ASSIGN_OR_RETURN(Tree tree, tree_of(repository.get(), commit));
  git_tree_entry* found = nullptr;
  if (git_tree_entry_bypath(&found, tree.get(), path.c_str()) != 0) {
    return not_found(path + " does not exist in commit " + commit);
  }
  TreeEntry entry(found);
  if (git_tree_entry_type(entry.get()) != GIT_OBJECT_BLOB ||
      git_tree_entry_filemode(entry.get()) == GIT_FILEMODE_LINK) {
    return not_found(path + " is not a file in commit " + commit);
  }
  git_blob* opened = nullptr;
  int code = git_blob_lookup(&opened, repository.get(), git_tree_entry_id(entry.get()));
  if (code != 0) return git_status(code, "reading " + path + " of commit " + commit);
  Blob blob(opened);
  auto size = static_cast<size_t>(git_blob_rawsize(blob.get()));
  if (size > kFileBytesMax) return invalid_argument(path + " in commit " + commit + " is larger than 16 MiB");
  return std::string(static_cast<const char*>(git_blob_rawcontent(blob.get())), size);
}

Result<std::vector<std::string>> GitMirror::changed_paths(const std::string& from, const std::string& to) const {
  ASSIGN_OR_RETURN(Repository repository, open_repository(directory_));
  Tree before;
  if (!from.empty()) {
    ASSIGN_OR_RETURN(before, tree_of(repository.get(), from));
  }
  ASSIGN_OR_RETURN(Tree after, tree_of(repository.get(), to));
  git_diff* made = nullptr;
  int code = git_diff_tree_to_tree(&made, repository.get(), before.get(), after.get(), nullptr);
  if (code != 0) return git_status(code, "comparing commits " + from + " and " + to);
  Diff diff(made);
  std::set<std::string> paths;
  for (size_t i = 0; i < git_diff_num_deltas(diff.get()); ++i) {
    const git_diff_delta* delta = git_diff_get_delta(diff.get(), i);
    if (delta->old_file.path != nullptr) paths.insert(delta->old_file.path);
    if (delta->new_file.path != nullptr) paths.insert(delta->new_file.path);
  }
  return std::vector<std::string>(paths.begin(), paths.end());
}

std::vector<fs::path> GitMirror::reference_directories() const {
  Result<fs::path> local = path_of_uri(uri_);
  if (!local.is_ok()) return {};
  start_library();
  git_repository* opened = nullptr;
  if (git_repository_open(&opened, local->c_str()) != 0) return {};
  Repository repository(opened);
  fs::path common = git_repository_commondir(repository.get());
  // packed-refs lies at the top; the branch's own file below refs/heads, perhaps in a folder of its own.
  return {common, (common / "refs" / "heads" / branch_).parent_path()};
}

}  // namespace freshet
