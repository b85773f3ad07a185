#include "kernels/cuda/embedding_bag.h"

#include <algorithm>
#include <numeric>

#include "kernels/embedding.h"
#include "tests/unit/kernels_cuda/support.h"

namespace freshet::cuda {
namespace {

struct Feature {
  size_t codes, dim;
  bool is_bag = false;
};

// Tables, and the words of a step's micro-batches, drawn so that low codes are popular.
class Tables {
 public:
  Tables(size_t rows, size_t slots, const std::vector<Feature>& features) : features_(features) {
    shape.rows = rows;
    shape.slots = slots;
    shape.features = features.size();
    shape.by_fours = true;
    uint32_t end = 0;
    for (const Feature& f : features) {
      EmbeddingFeature one;
      host_tables.push_back(random_values(f.codes * f.dim, "table " + std::to_string(described.size())));
      host_sums.push_back(random_values(f.codes, "sums " + std::to_string(described.size())));
      for (float& sum : host_sums.back()) sum = sum * sum;
      tables_.emplace_back(host_tables.back());
      sums_.emplace_back(host_sums.back());
      one.table = tables_.back().data();
      one.sums = sums_.back().data();
      one.first_row = static_cast<uint32_t>(shape.table_rows);
      one.dim = static_cast<uint32_t>(f.dim);
      one.column = static_cast<uint32_t>(width);
      one.codes = end;
      one.codes_max = static_cast<uint32_t>(f.is_bag ? 3 * rows : rows);
      end += one.codes_max;
      if (f.is_bag) {
        one.offsets = end;
        end += static_cast<uint32_t>(rows + 1);
      }
      one.first_lookup = static_cast<uint32_t>(shape.lookups);
      shape.lookups += one.codes_max;
      shape.table_rows += f.codes;
      shape.dim_max = std::max(shape.dim_max, f.dim);
      shape.by_fours = shape.by_fours && f.dim % 4 == 0;
      width += f.dim;
      described.push_back(one);
    }
    described_ = std::make_unique<Array<EmbeddingFeature>>(described);
    for (size_t slot = 0; slot < slots; ++slot) draw(end, slot);
  }

  const EmbeddingFeature* features() const { return described_->data(); }
  // The gradient of all lookups of a table, summed in double, from that of the outputs of all slots.
  std::vector<float> gradient(size_t f, const std::vector<float>& dout) const {
    const EmbeddingFeature& one = described[f];
    std::vector<double> sums(features_[f].codes * one.dim);
    for (size_t e = 0; e < shape.rows * shape.slots; ++e) {
      const auto codes = codes_of(f, e);
      for (int32_t code : codes) {
        for (size_t d = 0; d < one.dim; ++d) {
          sums[static_cast<size_t>(code) * one.dim + d] +=
              static_cast<double>(dout[e * width + one.column + d]) / static_cast<double>(codes.size());
        }
      }
    }
    return {sums.begin(), sums.end()};
  }
  std::vector<int32_t> codes_of(size_t f, size_t example) const {
    const auto& batch = host_words[example / shape.rows];
    const size_t r = example % shape.rows;
    const EmbeddingFeature& one = described[f];
    size_t begin = r, end = r + 1;
    if (one.offsets != kOneCodeEach) {
      begin = static_cast<size_t>(batch[one.offsets + r]);
      end = static_cast<size_t>(batch[one.offsets + r + 1]);
    }
    std::vector<int32_t> codes(batch.begin() + static_cast<ptrdiff_t>(one.codes + begin),
                               batch.begin() + static_cast<ptrdiff_t>(one.codes + end));
    std::erase(codes, -1);
    return codes;
  }
  void expect_tables(size_t f, const std::vector<float>& table, const std::vector<float>& sums,
                     double tolerance) const {
    expect_close(tables_[f].values(), table, tolerance);
    // Sums are of squares, relative to which they are as good.
    expect_close(sums_[f].values(), sums, tolerance * 40);
  }
  std::vector<float> table(size_t f) const { return tables_[f].values(); }
  std::vector<float> sums(size_t f) const { return sums_[f].values(); }
  void restore() {
    for (size_t f = 0; f < described.size(); ++f) {
      CHECK(copy_to_device(tables_[f].data(), host_tables[f].data(), host_tables[f].size() * 4, nullptr).is_ok());
      CHECK(copy_to_device(sums_[f].data(), host_sums[f].data(), host_sums[f].size() * 4, nullptr).is_ok());
    }
    auto event = Event::create();
    CHECK(event.is_ok() && event->record(nullptr).is_ok() && event->synchronize().is_ok());
  }

  EmbeddingShape shape;
  size_t width = 0;
  std::vector<EmbeddingFeature> described;
  std::vector<std::vector<float>> host_tables, host_sums;
  std::vector<std::vector<int32_t>> host_words;
  std::vector<Array<int32_t>> words;

 private:
  void draw(size_t count, size_t slot) {
    const Philox random(3, stream_of("codes " + std::to_string(slot)));
    uint64_t draws = 0;
    std::vector<int32_t> drawn(count, -1);
    for (size_t f = 0; f < described.size(); ++f) {
      const EmbeddingFeature& one = described[f];
      auto code = [&] {
        const uint64_t below =
            random.below(draws++, 3) > 0 ? std::min<uint64_t>(2, features_[f].codes) : features_[f].codes;
        return static_cast<int32_t>(random.below(draws++, below));
      };
      if (one.offsets == kOneCodeEach) {
        for (size_t r = 0; r < shape.rows; ++r) drawn[one.codes + r] = r % 11 == 5 ? -1 : code();
        continue;
      }
      int32_t at = 0;
      drawn[one.offsets] = 0;
      for (size_t r = 0; r < shape.rows; ++r) {
        for (uint64_t n = random.below(draws++, 4); n > 0; --n) drawn[one.codes + static_cast<size_t>(at++)] = code();
        drawn[one.offsets + r + 1] = at;
      }
    }
    host_words.push_back(drawn);
    words.emplace_back(drawn);
  }

  std::vector<Feature> features_;
  std::vector<Array<float>> tables_, sums_;
  std::unique_ptr<Array<EmbeddingFeature>> described_;
};

// By fours and not; rows of every width that has code of its own, and wider than a warp; a table of one row.
const std::vector<std::vector<Feature>> kFeatures = {
    {{50, 16}, {3, 4}, {1, 12, true}}, {{50, 32}, {7, 32, true}},         {{400, 64}, {5, 20}}, {{90, 128}, {1, 128}},
    {{30, 260}, {2, 136, true}},       {{50, 7}, {3, 1}, {11, 33, true}}, {{40, 70}},
};

class EmbeddingBagCuda : public CudaTest {
 protected:
  template <class Out>
  void expect_forward(Tables& tables, double rounding) {
    const size_t rows = tables.shape.rows, stride = (tables.width + 7) / 8 * 8 + 8;
    Array<Out> out(rows * stride);
    const auto before = out.values();
    EXPECT_OK(
        embedding_bag_forward(tables.shape, tables.features(), tables.words[0].data(), out.data(), stride, stream()));
    expect_done();
    std::vector<float> actual, expected(rows * tables.width);
    const auto values = out.values();
    for (size_t f = 0; f < tables.described.size(); ++f) {
      const EmbeddingFeature& one = tables.described[f];
      for (size_t r = 0; r < rows; ++r) {
        const auto codes = tables.codes_of(f, r);
        const uint32_t offsets[2] = {0, static_cast<uint32_t>(codes.size())};
        kernels::ref::embedding_bag_forward(1, one.dim, codes.data(), offsets, tables.host_tables[f].data(),
                                            expected.data() + r * tables.width + one.column, tables.width);
      }
    }
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < stride; ++c) {
        const Out value = values[r * stride + c];
        if (c >= tables.width) {
          EXPECT_EQ(std::memcmp(&value, &before[r * stride + c], sizeof(Out)), 0) << "behind the features";
        } else if constexpr (sizeof(Out) == 2) {
          actual.push_back(kernels::to_float(value));
        } else {
          actual.push_back(value);
        }
      }
    }
    // A mean of three values below 1 is rounded four times at most.
    expect_close(actual, expected, 4 * kRounding + rounding);
  }

  // Lists all slots and moves the tables.
  template <class Gradient>
  void update(Tables& tables, const Array<Gradient>& gradients, const kernels::RowwiseAdagradStep& adagrad,
              const EmbeddingStep& step = {}) {
    const size_t count = tables.shape.lookups * tables.shape.slots;
    Array<uint32_t> rows(count), places(count);
    auto bytes = embedding_bag_update_scratch(tables.shape);
    ASSERT_TRUE(bytes.is_ok()) << bytes.status().to_string();
    Array<std::byte> scratch(*bytes);
    for (uint32_t slot = 0; slot < tables.shape.slots; ++slot) {
      Array<uint32_t> number(std::vector<uint32_t>{slot});
      EXPECT_OK(embedding_bag_list(tables.shape, tables.features(), tables.words[slot].data(), number.data(),
                                   {rows.data(), places.data()}, stream()));
      expect_done();
    }
    EXPECT_OK(embedding_bag_update(tables.shape, tables.features(), {rows.data(), places.data()}, gradients.data(),
                                   tables.width, adagrad, step, scratch.data(), stream()));
    expect_done();
  }

  // What embedding_bag_keep makes of the gradient of outputs.
  std::vector<float> shared(const Tables& tables, std::vector<float> dout) const {
    for (size_t e = 0; e < tables.shape.rows * tables.shape.slots; ++e) {
      for (size_t f = 0; f < tables.described.size(); ++f) {
        const EmbeddingFeature& one = tables.described[f];
        const size_t codes = tables.codes_of(f, e).size();
        for (size_t d = 0; d < one.dim && codes > 1; ++d) {
          dout[e * tables.width + one.column + d] *= 1.0F / static_cast<float>(codes);
        }
      }
    }
    return dout;
  }
};

TEST_F(EmbeddingBagCuda, ForwardLooksUpInAllTables) {
  for (const auto& features : kFeatures) {
    Tables tables(67, 1, features);
    expect_forward<float>(tables, 0);
    expect_forward<Bfloat16>(tables, kRounding16);
  }
}

TEST_F(EmbeddingBagCuda, UpdateMovesTheRowsThatWereLookedUp) {
  const kernels::RowwiseAdagradStep adagrad{0.1F, 1e-3F};
  for (const auto& features : kFeatures) {
    Tables tables(210, 2, features);
    const auto dout = random_values(420 * tables.width, "dout");
    const Array<float> gradients(shared(tables, dout));
    update(tables, gradients, adagrad);
    for (size_t f = 0; f < features.size(); ++f) {
      SCOPED_TRACE("feature " + std::to_string(f) + " of width " + std::to_string(features[f].dim));
      const auto gradient = tables.gradient(f, dout);
      auto table = tables.host_tables[f], sums = tables.host_sums[f];
      for (size_t row = 0; row < features[f].codes; ++row) {
        const float* own = gradient.data() + row * features[f].dim;
        if (std::all_of(own, own + features[f].dim, [](float g) { return g == 0; })) continue;
        kernels::ref::rowwise_adagrad(adagrad, features[f].dim, own, &table[row * features[f].dim], &sums[row]);
      }
      // At worst a running sum of 420 values below 1, with steps of 32 and 14 additions; AdaGrad makes it smaller.
      tables.expect_tables(f, table, sums, 420 * kRounding);
      EXPECT_NE(tables.table(f), tables.host_tables[f]);
    }
    std::vector<std::vector<float>> first;
    for (size_t f = 0; f < features.size(); ++f) first.push_back(tables.table(f));
    tables.restore();
    update(tables, gradients, adagrad);
    for (size_t f = 0; f < features.size(); ++f) expect_same_bits(tables.table(f), first[f]);
  }
}

// The bits of a row do not depend on which other rows there are.
TEST_F(EmbeddingBagCuda, ARowMovesAsIfItWereAlone) {
  const kernels::RowwiseAdagradStep adagrad;
  Tables alone(300, 1, {{1, 128}}), among(300, 1, {{1, 128}, {40, 128}});
  Tables behind(300, 1, {{40, 128}, {1, 128}});
  behind.host_tables[1] = alone.host_tables[0];
  behind.host_sums[1] = alone.host_sums[0];
  behind.restore();
  const auto dout = random_values(300 * 256, "dout");
  std::vector<float> left, turned;
  for (size_t e = 0; e < 300; ++e) {
    for (size_t c = 0; c < 128; ++c) left.push_back(dout[e * 256 + c]);
    for (size_t c = 0; c < 256; ++c) turned.push_back(dout[e * 256 + (c + 128) % 256]);
  }
  update(alone, Array<float>(left), adagrad);
  update(among, Array<float>(dout), adagrad);
  update(behind, Array<float>(turned), adagrad);
  expect_same_bits(among.table(0), alone.table(0));
  expect_same_bits(behind.table(1), alone.table(0));
}

TEST_F(EmbeddingBagCuda, UpdateTakesBfloat16AndWhatIsOfTheStep) {
  const kernels::RowwiseAdagradStep adagrad{0.1F, 1e-3F};
  Tables tables(70, 1, {{9, 64}, {3, 64}});
  const auto dout = random_values16(70 * tables.width, "dout");
  const Array<Bfloat16> gradients(narrowed(dout));
  const Array<float> factor(std::vector<float>{0.5F});
  const Array<int32_t> applied(std::vector<int32_t>{1}), left_out(std::vector<int32_t>{0});
  update(tables, gradients, adagrad, {factor.data(), left_out.data()});
  expect_same_bits(tables.table(0), tables.host_tables[0]);
  expect_same_bits(tables.sums(1), tables.host_sums[1]);
  update(tables, gradients, adagrad, {factor.data(), applied.data()});
  const auto halved = tables.table(0);
  tables.restore();
  update(tables, Array<float>(dout), {0.05F, 1e-3F});
  expect_same_bits(halved, tables.table(0));
}

// The features are in two arrays in turn, as if their tables had two owners; those hold two micro-batches from number 3
// on, and it is about the second of them.
TEST_F(EmbeddingBagCuda, KeepsAndGathersInThePlaceOfItsSlot) {
  for (const auto& features : kFeatures) {
    Tables tables(37, 2, features);
    const size_t stride = (tables.width + 7) / 8 * 8, rows = 37, part_stride = stride + 8;
    const auto a = random_values16(rows * stride, "a"), b = random_values16(rows * stride, "b");
    Array<Bfloat16> da(narrowed(a)), db(narrowed(b));
    std::vector<Array<Bfloat16>> kept;
    for (size_t owner = 0; owner < 2; ++owner) kept.emplace_back(2 * rows * part_stride);
    std::vector<EmbeddingPart> described;
    for (size_t f = 0; f < features.size(); ++f) {
      described.push_back({kept[f % 2].data() + tables.described[f].column, part_stride});
    }
    const Array<EmbeddingPart> parts(described);
    const Array<uint32_t> slot(std::vector<uint32_t>{4});
    const std::vector<std::vector<Bfloat16>> before = {kept[0].values(), kept[1].values()};
    EXPECT_OK(embedding_bag_keep(tables.shape, tables.features(), tables.words[1].data(), slot.data(), da.data(),
                                 db.data(), stride, parts.data(), 3, stream()));
    Array<Bfloat16> out(rows * stride);
    EXPECT_OK(embedding_bag_gather(tables.shape, tables.features(), slot.data(), parts.data(), 3, out.data(), stride,
                                   stream()));
    expect_done();
    const auto gathered = out.values();
    for (size_t f = 0; f < features.size(); ++f) {
      const auto values = kept[f % 2].values();
      for (size_t i = 0; i < rows * part_stride; ++i) EXPECT_EQ(values[i], before[f % 2][i]);
      for (size_t r = 0; r < rows; ++r) {
        const size_t codes = std::max<size_t>(1, tables.codes_of(f, rows + r).size());
        for (size_t d = 0; d < features[f].dim; ++d) {
          const size_t column = tables.described[f].column + d, i = r * stride + column;
          const float expected = (a[i] + b[i]) * (1.0F / static_cast<float>(codes));
          EXPECT_EQ(values[(rows + r) * part_stride + column], kernels::to_bfloat16(expected));
          EXPECT_EQ(gathered[i], kernels::to_bfloat16(expected));
        }
      }
    }
  }
}

TEST_F(EmbeddingBagCuda, RefusesWhatItsNumbersCannotHold) {
  EmbeddingShape shape;
  shape.rows = 1;
  shape.features = kEmbeddingFeaturesMax + 1;
  EXPECT_EQ(embedding_bag_list(shape, nullptr, nullptr, nullptr, {}, stream()).code(), Code::kInvalidArgument);
  shape.features = 1;
  shape.rows = kEmbeddingExamplesMax;
  shape.slots = 2;
  EXPECT_EQ(embedding_bag_list(shape, nullptr, nullptr, nullptr, {}, stream()).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace freshet::cuda
