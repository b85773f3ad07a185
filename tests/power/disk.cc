#include "tests/power/disk.h"

#include <fcntl.h>

#include <algorithm>

#include "base/file.h"

namespace freshet::power {
namespace fs = std::filesystem;

namespace {

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

std::string base_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

void put(std::string* bytes, uint64_t offset, std::string_view data) {
  if (bytes->size() < offset + data.size()) bytes->resize(offset + data.size());
  std::copy(data.begin(), data.end(), bytes->begin() + static_cast<std::ptrdiff_t>(offset));
}

void apply(std::string* bytes, const Op& op) {
  if (op.kind == OpKind::kResize) {
    bytes->resize(op.size);
  } else {
    put(bytes, op.offset, op.data);
  }
}

}  // namespace

std::string name_of(Model model) { return model == Model::kStrict ? "strict" : "ordered"; }

struct Disk::Node {
  struct Part {
    size_t index = 0;  // in the log
    const Op* op = nullptr;
  };

  size_t made_at = 0;
  bool is_directory = false;
  Entries entries, durable_entries;
  std::vector<Part> parts;  // writes and resizes
  size_t durable_parts = 0;
  size_t durable_since = 0;  // in the log: when the sync began that made them so

  std::string content(size_t count) const {
    std::string bytes;
    for (size_t i = 0; i < count; ++i) apply(&bytes, *parts[i].op);
    return bytes;
  }
};

// What a sync that has begun makes durable when it ends.
struct Disk::Sync {
  size_t begin = 0;
  NodePtr node;  // null: of something that has no name any more
  size_t parts = 0;
  Entries entries;
};

// What survives beyond what was synced.
struct Disk::Draw {
  Random& random;
  size_t journal = 0;    // this many operations are in the journal
  uint64_t percent = 0;  // of sectors
  uint64_t sector = 512;

  bool happens(uint64_t of_hundred) const { return random.next() % 100 < of_hundred; }
};

Disk::~Disk() = default;

Disk::Disk(const OpLog& log, size_t cut) : log_(log), cut_(cut) {
  root_ = make_node(SIZE_MAX, true);
  for (size_t i = 0; i < cut_; ++i) play(i, log_.ops()[i]);
}

Disk::NodePtr Disk::make_node(size_t index, bool is_directory) {
  auto node = std::make_shared<Node>();
  node->made_at = index;
  node->is_directory = is_directory;
  made_[index] = node;
  return node;
}

Disk::NodePtr Disk::find(const std::string& path) const {
  NodePtr node = root_;
  for (size_t at = 0; at < path.size() && node;) {
    const size_t end = std::min(path.find('/', at), path.size());
    auto found = node->entries.find(path.substr(at, end - at));
    node = found == node->entries.end() ? nullptr : found->second;
    at = end + 1;
  }
  return node;
}

Disk::Entries& Disk::directory_of(const std::string& path) const {
  NodePtr directory = find(parent_of(path));
  CHECK(directory && directory->is_directory);
  return directory->entries;
}

void Disk::play(size_t index, const Op& op) {
  switch (op.kind) {
    case OpKind::kCreateFile:
    case OpKind::kMakeDirectory:
      directory_of(op.path)[base_of(op.path)] = make_node(index, op.kind == OpKind::kMakeDirectory);
      return;
    case OpKind::kWrite:
    case OpKind::kResize:
      if (NodePtr node = find(op.path)) node->parts.push_back({index, &op});
      return;
    case OpKind::kRename:
    case OpKind::kLink: {
      NodePtr node = find(op.path);  // null for a socket, which the log does not know
      if (op.kind == OpKind::kRename) directory_of(op.path).erase(base_of(op.path));
      if (node) directory_of(op.other)[base_of(op.other)] = node;
      return;
    }
    case OpKind::kRemove:
      directory_of(op.path).erase(base_of(op.path));
      return;
    case OpKind::kSyncBegin: {
      Sync sync{index, find(op.path), 0, {}};
      if (sync.node) {
        sync.parts = sync.node->parts.size();
        sync.entries = sync.node->entries;
      }
      syncs_[op.number] = std::move(sync);
      return;
    }
    case OpKind::kSyncEnd: {
      Sync sync = std::move(syncs_.at(op.number));
      syncs_.erase(op.number);
      // A sync of bytes alone needs no more of the journal than the file's own size.
      if (!op.data_only) journal_forced_ = std::max(journal_forced_, sync.begin);
      // A sync that began earlier and ends later takes nothing away.
      if (!sync.node || sync.begin < sync.node->durable_since) return;
      sync.node->durable_since = sync.begin;
      sync.node->durable_parts = sync.parts;
      sync.node->durable_entries = std::move(sync.entries);
      return;
    }
    case OpKind::kMapShared:
      mapped_.push_back(op.path);
      return;
    case OpKind::kAcknowledge:
      return;
  }
}

template <class EntriesOf, class ContentOf>
void Disk::collect(const Node& directory, const std::string& prefix, EntriesOf entries_of, ContentOf content_of,
                   Tree* tree) {
  for (const auto& [name, node] : entries_of(directory)) {
    const std::string path = prefix + name;
    if (node->is_directory) {
      (*tree)[path] = std::nullopt;
      collect(*node, path + "/", entries_of, content_of, tree);
    } else {
      (*tree)[path] = content_of(*node);
    }
  }
}

Tree Disk::seen() const {
  Tree tree;
  collect(
      *root_, "", [](const Node& node) -> const Entries& { return node.entries; },
      [](const Node& node) { return node.content(node.parts.size()); }, &tree);
  return tree;
}

std::string Disk::drawn_content(const Node& node, Draw& draw) {
  std::string bytes = node.content(node.durable_parts);
  bool append_is_cut = false;
  for (size_t i = node.durable_parts; i < node.parts.size(); ++i) {
    const auto& [index, op] = node.parts[i];
    if (op->kind == OpKind::kResize) {
      if (index < draw.journal) apply(&bytes, *op);
      continue;
    }
    const uint64_t stop = op->offset + op->data.size();
    for (uint64_t at = op->offset, end = 0; at < stop; at = end) {
      end = std::min((at / draw.sector + 1) * draw.sector, stop);
      bool survives = draw.happens(draw.percent);
      if (end > bytes.size()) {
        survives = survives && !append_is_cut && at <= bytes.size();
        append_is_cut = append_is_cut || !survives;
      }
      if (survives) put(&bytes, at, op->data.substr(at - op->offset, end - at));
    }
  }
  const size_t seen_size = node.content(node.parts.size()).size();
  if (bytes.size() < seen_size && draw.happens(25)) {
    bytes.resize(bytes.size() + draw.random.next() % (seen_size - bytes.size() + 1));
  }
  return bytes;
}

Tree Disk::after_cut(Model model, Random& random) const {
  Tree tree;
  if (model == Model::kStrict) {
    collect(
        *root_, "", [](const Node& node) -> const Entries& { return node.durable_entries; },
        [](const Node& node) { return node.content(node.durable_parts); }, &tree);
    return tree;
  }
  constexpr uint64_t kPercents[] = {0, 50, 90, 100};
  Draw draw{random, 0, kPercents[random.next() % 4], random.next() % 2 == 0 ? 512u : 4096u};
  draw.journal = journal_forced_ + random.next() % (cut_ - journal_forced_ + 1);
  // The names of then, with the bytes of now.
  const Disk journal(log_, draw.journal);
  collect(
      *journal.root_, "", [](const Node& node) -> const Entries& { return node.entries; },
      [&](const Node& node) { return drawn_content(*made_.at(node.made_at), draw); }, &tree);
  return tree;
}

std::vector<std::string> Disk::acknowledged() const {
  std::vector<std::string> lines;
  for (size_t i = 0; i < cut_; ++i) {
    const Op& op = log_.ops()[i];
    if (op.kind == OpKind::kAcknowledge) lines.emplace_back(op.data.substr(0, op.data.find('\n')));
  }
  return lines;
}

Status write_tree(const Tree& tree, const fs::path& directory) {
  std::error_code error;
  fs::remove_all(directory, error);
  fs::create_directories(directory, error);
  for (const auto& [path, content] : tree) {
    if (!content) {
      fs::create_directory(directory / path, error);
      if (error) return errno_status("mkdir " + path, error.value());
      continue;
    }
    Fd fd(::open((directory / path).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    if (!fd.is_open()) return errno_status("create " + path, errno);
    RETURN_IF_ERROR(write_all(fd.get(), content->data(), content->size()));
  }
  return Status::ok();
}

Result<Tree> read_tree(const fs::path& directory) {
  Tree tree;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(directory, error)) {
    const std::string path = entry.path().lexically_relative(directory).string();
    if (entry.is_directory()) {
      tree[path] = std::nullopt;
    } else if (entry.is_regular_file()) {
      ASSIGN_OR_RETURN(tree[path], read_file(entry.path()));
    }
  }
  if (error) return errno_status("list " + directory.string(), error.value());
  return tree;
}

}  // namespace freshet::power
