#include "worker/data/training_rows.h"

#include <algorithm>
#include <cstdint>
#include <system_error>
#include <vector>

#include "worker/data/fit.h"

namespace freshet::worker {
namespace {

// Where the rows of a part go.
struct Place {
  size_t row = 0;
  std::vector<size_t> codes;  // [categorical feature] of many values a row
};

// EncodedRows counts the values of a feature by 32 bits.
Status check_sizes(const Fitter& fitter, size_t parts) {
  std::vector<size_t> codes;
  for (size_t part = 0; part < parts; ++part) {
    const auto& more = fitter.size(part).codes;
    codes.resize(more.size());
    for (size_t i = 0; i < more.size(); ++i) codes[i] += more[i];
  }
  if (std::all_of(codes.begin(), codes.end(), [](size_t count) { return count <= UINT32_MAX; })) return Status::ok();
  return invalid_argument("a multi-valued feature has more than " + std::to_string(UINT32_MAX) +
                          " values in all rows: train on fewer entries");
}

class RowsInPlace {
 public:
  RowsInPlace(const Transform& transform, const TableStream& stream, const Fitter& fitter,
              const std::shared_ptr<Scratch>& scratch)
      : transform_(transform), stream_(stream), places_(stream.parts()) {
    const auto cardinalities = transform.cardinalities();
    std::vector<size_t> codes(cardinalities.size());
    for (size_t part = 0; part < places_.size(); ++part) {
      const PartSize& size = fitter.size(part);
      places_[part] = {rows_.rows, codes};
      rows_.rows += size.rows;
      for (size_t i = 0; i < codes.size(); ++i) codes[i] += size.codes[i];
    }
    const ScratchAllocator<float> allocator(scratch);
    auto column = [&](auto* columns, size_t length) {
      columns->emplace_back(allocator);
      columns->back().resize(length);
    };
    size_t categorical = 0;
    for (const auto& feature : transform.model().features()) {
      if (feature.kind() != v1::Feature::CATEGORICAL) continue;
      column(&rows_.categorical, feature.multi_valued() ? codes[categorical] : rows_.rows);
      column(&rows_.ends, feature.multi_valued() ? rows_.rows : 0);
      ++categorical;
    }
    for (size_t i = 0; i < transform.numeric_features(); ++i) column(&rows_.numeric, rows_.rows);
    rows_.label = ScratchVector<float>(allocator);
    rows_.label.resize(rows_.rows);
    rows_.weight = ScratchVector<float>(allocator);
    if (!transform.model().weight_column().empty()) rows_.weight.resize(rows_.rows);
    rows_.entry = ScratchVector<uint32_t>(allocator);
    rows_.entry.resize(rows_.rows);
    for (const auto& entry : stream.data().entries()) rows_.entry_uris.push_back(entry.uri());
  }

  // Batches of a part come in order.
  Status add(size_t part, const Table& batch) {
    ASSIGN_OR_RETURN(const EncodedRows encoded, transform_.encode(batch));
    Place& place = places_[part];
    auto copy = [](const auto& from, auto* to, size_t at) {
      std::copy(from.begin(), from.end(), to->begin() + static_cast<ptrdiff_t>(at));
    };
    for (size_t i = 0; i < encoded.categorical.size(); ++i) {
      const auto& ends = encoded.ends[i];
      copy(encoded.categorical[i], &rows_.categorical[i], rows_.ends[i].empty() ? place.row : place.codes[i]);
      const auto first = static_cast<uint32_t>(place.codes[i]);
      std::transform(ends.begin(), ends.end(), rows_.ends[i].begin() + static_cast<ptrdiff_t>(place.row),
                     [first](uint32_t end) { return first + end; });
      if (!ends.empty()) place.codes[i] += encoded.categorical[i].size();
    }
    for (size_t i = 0; i < encoded.numeric.size(); ++i) copy(encoded.numeric[i], &rows_.numeric[i], place.row);
    copy(encoded.label, &rows_.label, place.row);
    copy(encoded.weight, &rows_.weight, place.row);
    const auto first = rows_.entry.begin() + static_cast<ptrdiff_t>(place.row);
    std::fill_n(first, encoded.rows, static_cast<uint32_t>(stream_.entry_of(part)));
    place.row += encoded.rows;
    return Status::ok();
  }

  EncodedRows take() { return std::move(rows_); }

 private:
  const Transform& transform_;
  const TableStream& stream_;
  std::vector<Place> places_;
  EncodedRows rows_;
};

}  // namespace

Result<TrainingRows> prepare_rows(const v1::TabularModel& model, const TableStream& stream, const Transform* previous,
                                  const std::shared_ptr<Scratch>& scratch, unsigned threads) {
  try {
    const auto entries = static_cast<size_t>(stream.data().entries_size());
    ASSIGN_OR_RETURN(Fitter fitter,
                     Fitter::create(model, previous ? &previous->state() : nullptr, stream.parts(), entries, scratch));
    RETURN_IF_ERROR(stream.for_each(threads, [&](size_t part, const Table& batch) { return fitter.add(part, batch); }));
    ASSIGN_OR_RETURN(Transform transform, Transform::fit(fitter));
    fitter.forget_numbers();
    RETURN_IF_ERROR(check_sizes(fitter, stream.parts()));
    RowsInPlace rows(transform, stream, fitter, scratch);
    RETURN_IF_ERROR(stream.for_each(threads, [&](size_t part, const Table& batch) { return rows.add(part, batch); }));
    return TrainingRows{std::move(transform), rows.take()};
  } catch (const std::bad_alloc&) {
    return resource_exhausted("not enough memory for the rows");
  } catch (const std::system_error& error) {
    return resource_exhausted(error.what());
  }
}

}  // namespace freshet::worker
