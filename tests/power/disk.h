// Disk: what a power cut may leave of a recorded directory tree. It plays a log up to the cut and then says what a new
// start would find, under one of three models:
//   strict     only what was synced: a file's bytes by a sync of the file, names by a sync of their directory. Every
//              file system keeps at least this.
//   ordered    as ext4 with data=ordered, and XFS: names and sizes go through one journal, in order, of which a drawn
//              part has reached the disk, at least up to the last sync; an append has survived up to a drawn sector,
//              and its rest is not there or reads as zeros; of sectors that were overwritten in place a drawn subset
//              has survived. Files are independent of each other in this.
// Appends with holes, which neither shows, are in neither model.
// One thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/status.h"
#include "tests/power/op_log.h"

namespace freshet::power {

enum class Model { kStrict, kOrdered };
std::string name_of(Model model);

// Paths relative to the root; nullopt: a directory. Parents come before what is in them.
using Tree = std::map<std::string, std::optional<std::string>>;

class Disk {
 public:
  // The log outlives the disk. `cut`: how many operations were done before the power went.
  Disk(const OpLog& log, size_t cut);
  ~Disk();
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;

  // What the programs saw.
  Tree seen() const;
  Tree after_cut(Model model, Random& random) const;
  // The lines that had been acknowledged.
  std::vector<std::string> acknowledged() const;
  // Whose bytes are not known, because they were mapped.
  const std::vector<std::string>& mapped() const { return mapped_; }

 private:
  struct Node;
  struct Draw;
  struct Sync;
  using NodePtr = std::shared_ptr<Node>;
  using Entries = std::map<std::string, NodePtr>;

  void play(size_t index, const Op& op);
  NodePtr make_node(size_t index, bool is_directory);
  NodePtr find(const std::string& path) const;
  Entries& directory_of(const std::string& path) const;
  static std::string drawn_content(const Node& node, Draw& draw);
  template <class EntriesOf, class ContentOf>
  static void collect(const Node& directory, const std::string& prefix, EntriesOf entries_of, ContentOf content_of,
                      Tree* tree);

  const OpLog& log_;
  size_t cut_;
  NodePtr root_;
  std::map<size_t, NodePtr> made_;  // by the operation that made it
  std::map<uint64_t, Sync> syncs_;  // begun and not ended, by number
  size_t journal_forced_ = 0;       // of how many operations the journal is on disk for certain
  std::vector<std::string> mapped_;
};

// Writes the tree into a directory, which is made anew.
Status write_tree(const Tree& tree, const std::filesystem::path& directory);

// What is in a real directory: names, and the bytes of regular files.
Result<Tree> read_tree(const std::filesystem::path& directory);

}  // namespace freshet::power
