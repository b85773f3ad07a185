#include "worker/train/embedding_tables.h"

#include <algorithm>
#include <cstring>

namespace freshet::worker {
namespace {

// Rows that are on their way from memory while others are worked on.
constexpr size_t kAhead = 8;
constexpr size_t kLineFloats = 16;

void fetch_line(const float* from, size_t floats) {
  for (size_t at = 0; at < floats; at += kLineFloats) __builtin_prefetch(from + at);
}

template <class T>
void append(std::span<const T> values, std::vector<std::byte>* to) {
  const auto bytes = std::as_bytes(values);
  to->insert(to->end(), bytes.begin(), bytes.end());
}

// Takes values from the front of what another rank sent.
template <class T>
Status take(Bytes* from, size_t count, std::vector<T>* values) {
  if (from->size() < count * sizeof(T)) return internal("a rank's message about embedding tables is cut short");
  values->resize(count);
  if (count > 0) std::memcpy(values->data(), from->data(), count * sizeof(T));
  *from = from->subspan(count * sizeof(T));
  return Status::ok();
}

// Rows of one table with their sums in subtrees of the rank that sends them.
struct RowSums {
  std::vector<Lookup> rows;   // `example` is the first leaf of the subtree
  std::vector<float> values;  // [row][dim]
};

}  // namespace

EmbeddingTables::EmbeddingTables(std::span<const TensorView> tables, const kernels::RowwiseAdagradStep& step,
                                 Communicator* comm, size_t micro_batches, size_t micro_batch_rows)
    : step_(step),
      comm_(*comm),
      micro_batches_(micro_batches),
      micro_batch_rows_(micro_batch_rows),
      first_leaf_(share_of(micro_batches, comm->size(), comm->rank()).begin) {
  for (const auto& tensor : tables) {
    CHECK(tensor.shape.size() == 2 && tensor.offset == elements_);
    Table& table = tables_.emplace_back();
    table.rows = tensor.shape[0];
    table.dim = tensor.shape[1];
    table.own = share_of(table.rows, comm->size(), comm->rank());
    table.values = HugeFloats(table.own.size() * table.dim);
    table.sums.resize(table.own.size());
    elements_ += tensor.size;
    rows_ += table.rows;
  }
}

void EmbeddingTables::start(const float* all) {
  for (auto& table : tables_) {
    std::copy_n(all + table.own.begin * table.dim, table.own.size() * table.dim, table.values.data());
    std::fill(table.sums.begin(), table.sums.end(), 0.0F);
    all += table.rows * table.dim;
  }
}

std::vector<TableMemory> EmbeddingTables::memory() {
  std::vector<TableMemory> memory;
  for (auto& table : tables_) memory.push_back({table.own, table.dim, table.values.span(), table.sums});
  return memory;
}

Status EmbeddingTables::gather_parts(std::span<const float> own, size_t rows, size_t dim, float* all) {
  std::vector<MutableBytes> parts;
  for (int rank = 0; rank < comm_.size() && comm_.rank() == 0; ++rank) {
    const Range theirs = share_of(rows, comm_.size(), rank);
    parts.push_back(bytes_of(std::span(all + theirs.begin * dim, theirs.size() * dim)));
  }
  return comm_.gather(bytes_of(own), parts);
}

Status EmbeddingTables::gather_values(float* all) {
  size_t at = 0;
  for (auto& table : tables_) {
    RETURN_IF_ERROR(gather_parts(table.values.span(), table.rows, table.dim, all == nullptr ? nullptr : all + at));
    at += table.rows * table.dim;
  }
  return Status::ok();
}

Status EmbeddingTables::gather_sums(float* all) {
  size_t at = 0;
  for (auto& table : tables_) {
    RETURN_IF_ERROR(gather_parts(table.sums, table.rows, 1, all == nullptr ? nullptr : all + at));
    at += table.rows;
  }
  return Status::ok();
}

const float* EmbeddingTables::row_source(size_t table) const {
  return comm_.size() == 1 ? tables_[table].values.data() : tables_[table].fetched.data();
}

void EmbeddingTables::collect(const Lookups& lookups, size_t examples, Table* table) const {
  table->lookups.clear();
  const auto& codes = *lookups.codes;
  if (lookups.offsets == nullptr || lookups.offsets->empty()) {
    for (size_t e = 0; e < examples; ++e) {
      table->lookups.push_back({static_cast<uint32_t>(codes[e]), static_cast<uint32_t>(e)});
    }
  } else {
    const auto& offsets = *lookups.offsets;
    for (size_t e = 0; e < examples; ++e) {
      for (size_t i = offsets[e]; i < offsets[e + 1]; ++i) {
        table->lookups.push_back({static_cast<uint32_t>(codes[i]), static_cast<uint32_t>(e)});
      }
    }
  }
  sort_lookups(table->rows, &table->lookups, &table->spare);
}

Status EmbeddingTables::fetch(std::span<const Lookups> lookups, size_t examples, ThreadPool* pool) {
  CHECK(lookups.size() == tables_.size());
  RETURN_IF_ERROR(pool->run(tables_.size(), [&](size_t t, unsigned) {
    collect(lookups[t], examples, &tables_[t]);
    return Status::ok();
  }));
  if (comm_.size() == 1) return Status::ok();
  RETURN_IF_ERROR(exchange_rows(pool));
  return pool->run(tables_.size(), [&](size_t t, unsigned) {
    const auto& unique = tables_[t].unique;
    const bool has_bags = lookups[t].offsets != nullptr && !lookups[t].offsets->empty();
    const size_t count = has_bags ? (*lookups[t].offsets)[examples] : examples;
    for (int32_t& code : std::span(*lookups[t].codes).first(count)) {
      code = static_cast<int32_t>(std::lower_bound(unique.begin(), unique.end(), static_cast<uint32_t>(code)) -
                                  unique.begin());
    }
    return Status::ok();
  });
}

// Each owner is asked for its rows, ascending and each once, and answers with their values in that order.
Status EmbeddingTables::exchange_rows(ThreadPool* pool) {
  const auto ranks = static_cast<size_t>(comm_.size()), me = static_cast<size_t>(comm_.rank());
  std::vector<std::vector<std::byte>> questions(ranks);
  std::vector<std::vector<Range>> asked(ranks, std::vector<Range>(tables_.size()));  // places in `unique`
  std::vector<std::vector<float>> answers(ranks), answered(ranks);
  for (size_t t = 0; t < tables_.size(); ++t) {
    Table& table = tables_[t];
    table.unique.clear();
    for_each_row(table.lookups, [&](size_t first, size_t) { table.unique.push_back(table.lookups[first].row); });
    table.fetched.resize(table.unique.size() * table.dim);
    size_t begin = 0;
    for (size_t peer = 0; peer < ranks; ++peer) {
      const size_t limit = share_of(table.rows, comm_.size(), static_cast<int>(peer)).end;
      const auto end =
          static_cast<size_t>(std::lower_bound(table.unique.begin(), table.unique.end(), limit) - table.unique.begin());
      asked[peer][t] = {begin, end};
      const auto count = static_cast<uint32_t>(end - begin);
      append(std::span<const uint32_t>(&count, 1), &questions[peer]);
      append(std::span<const uint32_t>(table.unique).subspan(begin, count), &questions[peer]);
      answered[peer].resize(answered[peer].size() + count * table.dim);
      begin = end;
    }
  }
  ASSIGN_OR_RETURN(auto received, comm_.all_to_all({questions.begin(), questions.end()}));
  Status found = pool->run(ranks, [&](size_t peer, unsigned) -> Status {
    Bytes question = received[peer];
    std::vector<uint32_t> count, rows;
    for (const Table& table : tables_) {
      RETURN_IF_ERROR(take(&question, 1, &count));
      RETURN_IF_ERROR(take(&question, count[0], &rows));
      for (uint32_t row : rows) {
        if (row < table.own.begin || row >= table.own.end) return internal("a rank asks for another rank's row");
        const float* values = table.values.data() + (row - table.own.begin) * table.dim;
        answers[peer].insert(answers[peer].end(), values, values + table.dim);
      }
    }
    return Status::ok();
  });
  RETURN_IF_ERROR(found);
  std::vector<Bytes> outgoing;
  std::vector<MutableBytes> incoming;
  for (size_t peer = 0; peer < ranks; ++peer) {
    outgoing.push_back(bytes_of(std::span<const float>(answers[peer])));
    incoming.push_back(bytes_of(std::span<float>(answered[peer])));
  }
  RETURN_IF_ERROR(comm_.exchange(outgoing, incoming));
  answered[me] = std::move(answers[me]);
  for (size_t peer = 0; peer < ranks; ++peer) {
    const float* from = answered[peer].data();
    for (size_t t = 0; t < tables_.size(); ++t) {
      const size_t count = asked[peer][t].size() * tables_[t].dim;
      std::copy_n(from, count, tables_[t].fetched.data() + asked[peer][t].begin * tables_[t].dim);
      from += count;
    }
  }
  return Status::ok();
}

std::vector<TreeNode> EmbeddingTables::cover_of(size_t leaves, int rank) const {
  const Range share = share_of(micro_batches_, comm_.size(), rank);
  return tree_cover(leaves, share.begin, share.end);
}

Status EmbeddingTables::update(std::span<const LookupGradients> gradients, size_t leaves, float learning_rate_factor,
                               ThreadPool* pool) {
  CHECK(gradients.size() == tables_.size());
  kernels::RowwiseAdagradStep step = step_;
  step.learning_rate *= learning_rate_factor;
  if (comm_.size() > 1) return update_shared(gradients, leaves, step, pool);
  return pool->run(tables_.size(), [&](size_t t, unsigned) {
    update_own(&tables_[t], gradients[t], leaves, step);
    return Status::ok();
  });
}

void EmbeddingTables::update_own(Table* table, const LookupGradients& gradients, size_t leaves,
                                 const kernels::RowwiseAdagradStep& step) const {
  const TreeNode root = tree_root(leaves);
  const size_t dim = table->dim;
  const auto& lookups = table->lookups;
  auto gradient_of = [&](size_t i) { return gradients.values + lookups[i].example * gradients.stride; };
  std::vector<float> scratch((root.level + 1) * dim);
  std::vector<Addend> addends;
  for_each_row(lookups, [&](size_t first, size_t last) {
    if (first + kAhead < lookups.size()) {
      const uint32_t next = lookups[first + kAhead].row;
      fetch_line(table->values.data() + next * dim, dim);
      fetch_line(gradient_of(first + kAhead), dim);
      __builtin_prefetch(&table->sums[next]);
    }
    const float* sum = gradient_of(first);
    if (last - first > 1) {
      addends.clear();
      for (size_t i = first; i < last; ++i) addends.push_back({leaf_of(lookups[i].example), gradient_of(i)});
      sum = tree_sum(addends, root, dim, scratch.data());
    }
    const uint32_t row = lookups[first].row;
    kernels::rowwise_adagrad(step, dim, sum, table->values.data() + row * dim, &table->sums[row]);
  });
}

// A rank sums what lies in its subtrees; the owner of a row adds the subtrees of all ranks.
Status EmbeddingTables::update_shared(std::span<const LookupGradients> gradients, size_t leaves,
                                      const kernels::RowwiseAdagradStep& step, ThreadPool* pool) {
  const auto ranks = static_cast<size_t>(comm_.size());
  const TreeNode root = tree_root(leaves);
  const std::vector<TreeNode> cover = cover_of(leaves, comm_.rank());
  std::vector<std::vector<RowSums>> outgoing(tables_.size(), std::vector<RowSums>(ranks));
  RETURN_IF_ERROR(pool->run(tables_.size(), [&](size_t t, unsigned) {
    const Table& table = tables_[t];
    std::vector<float> scratch((root.level + 1) * table.dim);
    std::vector<Addend> addends;
    size_t peer = 0;
    for_each_row(table.lookups, [&](size_t first, size_t last) {
      const uint32_t row = table.lookups[first].row;
      while (row >= share_of(table.rows, comm_.size(), static_cast<int>(peer)).end) ++peer;
      size_t i = first;
      for (TreeNode node : cover) {
        addends.clear();
        for (; i < last && leaf_of(table.lookups[i].example) < node.end(); ++i) {
          const uint32_t example = table.lookups[i].example;
          addends.push_back({leaf_of(example), gradients[t].values + example * gradients[t].stride});
        }
        if (addends.empty()) continue;
        const float* sum = tree_sum(addends, node, table.dim, scratch.data());
        RowSums& to = outgoing[t][peer];
        to.rows.push_back({row, static_cast<uint32_t>(node.begin())});
        to.values.insert(to.values.end(), sum, sum + table.dim);
      }
    });
    return Status::ok();
  }));

  std::vector<std::vector<std::byte>> messages(ranks);
  for (size_t peer = 0; peer < ranks; ++peer) {
    for (size_t t = 0; t < tables_.size(); ++t) {
      const auto count = static_cast<uint32_t>(outgoing[t][peer].rows.size());
      append(std::span<const uint32_t>(&count, 1), &messages[peer]);
      append(std::span<const Lookup>(outgoing[t][peer].rows), &messages[peer]);
      append(std::span<const float>(outgoing[t][peer].values), &messages[peer]);
    }
  }
  ASSIGN_OR_RETURN(auto received, comm_.all_to_all({messages.begin(), messages.end()}));
  std::vector<std::vector<RowSums>> incoming(tables_.size(), std::vector<RowSums>(ranks));
  for (size_t peer = 0; peer < ranks; ++peer) {
    Bytes message = received[peer];
    std::vector<uint32_t> count;
    for (size_t t = 0; t < tables_.size(); ++t) {
      RETURN_IF_ERROR(take(&message, 1, &count));
      RETURN_IF_ERROR(take(&message, count[0], &incoming[t][peer].rows));
      RETURN_IF_ERROR(take(&message, count[0] * tables_[t].dim, &incoming[t][peer].values));
    }
  }
  return pool->run(tables_.size(), [&](size_t t, unsigned) -> Status {
    Table& table = tables_[t];
    std::vector<Lookup>& order = table.lookups;
    std::vector<Addend> all, addends;
    order.clear();
    for (const RowSums& part : incoming[t]) {  // by ranks, so those of a row are ascending by leaf
      for (size_t i = 0; i < part.rows.size(); ++i) {
        if (part.rows[i].row < table.own.begin || part.rows[i].row >= table.own.end) {
          return internal("a rank sends the gradient of another rank's row");
        }
        order.push_back({static_cast<uint32_t>(part.rows[i].row - table.own.begin), static_cast<uint32_t>(all.size())});
        all.push_back({part.rows[i].example, part.values.data() + i * table.dim});
      }
    }
    sort_lookups(table.own.size(), &order, &table.spare);
    std::vector<float> scratch((root.level + 1) * table.dim);
    for_each_row(order, [&](size_t first, size_t last) {
      addends.clear();
      for (size_t i = first; i < last; ++i) addends.push_back(all[order[i].example]);
      const uint32_t row = order[first].row;
      kernels::rowwise_adagrad(step, table.dim, tree_sum(addends, root, table.dim, scratch.data()),
                               table.values.data() + row * table.dim, &table.sums[row]);
    });
    return Status::ok();
  });
}

}  // namespace freshet::worker
