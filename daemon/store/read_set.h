// ReadSet: which keys and which prefixes a piece of code has read, so that one can tell whether a later write concerns
// it. Filled by a ReadScope: while it lives, what its thread reads through snapshots of the store, and what its changes
// depend on, is added; an inner scope hides the outer one. A set belongs to whoever made it; it has no lock.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace freshet {

class ReadSet {
 public:
  void add_key(std::string_view key);
  void add_prefix(std::string_view prefix);
  // Whether what was read could have been told otherwise if this key had another value.
  bool covers(std::string_view key) const;

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  using Set = std::unordered_set<std::string, Hash, std::equal_to<>>;

  Set keys_, folders_;                 // folders: prefixes that end in '/'
  std::vector<std::string> prefixes_;  // that do not
};

class ReadScope {
 public:
  // nullptr: nothing is noted, whatever the scope around this one does.
  explicit ReadScope(ReadSet* reads);
  ~ReadScope();
  ReadScope(const ReadScope&) = delete;
  ReadScope& operator=(const ReadScope&) = delete;

 private:
  ReadSet* outer_;
};

// Of the innermost scope of this thread; nullptr: there is none.
ReadSet* current_reads();

}  // namespace freshet
