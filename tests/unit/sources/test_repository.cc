#include "tests/unit/sources/test_repository.h"

#include <git2.h>

#include "base/check.h"

namespace freshet {
namespace {

void checked(int code) { CHECK_MSG(code >= 0, git_error_last() != nullptr ? git_error_last()->message : "libgit2"); }

}  // namespace

TestRepository::TestRepository(const std::filesystem::path& directory, bool bare) {
  git_libgit2_init();
  checked(git_repository_init(&repository_, directory.c_str(), bare ? 1 : 0));
}

TestRepository::~TestRepository() {
  git_repository_free(repository_);
  git_libgit2_shutdown();
}

std::string TestRepository::commit(const std::string& branch, const std::map<std::string, std::string>& files) {
  git_index* index = nullptr;
  checked(git_index_new(&index));
  for (const auto& [path, content] : files) {
    git_index_entry entry{};
    entry.mode = GIT_FILEMODE_BLOB;
    entry.path = path.c_str();
    checked(git_blob_create_from_buffer(&entry.id, repository_, content.data(), content.size()));
    checked(git_index_add(index, &entry));
  }
  git_oid tree_id;
  checked(git_index_write_tree_to(&tree_id, index, repository_));
  git_index_free(index);
  git_tree* tree = nullptr;
  checked(git_tree_lookup(&tree, repository_, &tree_id));
  git_signature* author = nullptr;
  checked(git_signature_new(&author, "A Test", "test@example.org", 1'000'000'000, 0));

  std::string reference = "refs/heads/" + branch;
  git_oid parent_id;
  git_commit* parent = nullptr;
  if (git_reference_name_to_id(&parent_id, repository_, reference.c_str()) == 0) {
    checked(git_commit_lookup(&parent, repository_, &parent_id));
  }
  const git_commit* parents[] = {parent};
  git_oid id;
  checked(git_commit_create(&id, repository_, reference.c_str(), author, author, nullptr, "a change", tree,
                            parent == nullptr ? 0 : 1, parents));
  git_commit_free(parent);
  git_signature_free(author);
  git_tree_free(tree);
  char text[GIT_OID_HEXSZ + 1];
  git_oid_tostr(text, sizeof text, &id);
  return text;
}

}  // namespace freshet
