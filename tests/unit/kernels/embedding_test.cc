#include "kernels/embedding.h"

#include <gtest/gtest.h>

#include "tests/unit/kernels/support.h"

namespace freshet::kernels {
namespace {

struct Shape {
  size_t rows, dim, codes, stride;
};

class Embedding : public testing::TestWithParam<Shape> {
 protected:
  const Shape s_ = GetParam();
  std::vector<int32_t> codes() const {
    Philox philox(20260101, stream_of("codes"));
    std::vector<int32_t> codes(s_.rows);
    for (size_t i = 0; i < s_.rows; ++i) codes[i] = static_cast<int32_t>(philox.below(i, s_.codes));
    return codes;
  }
};

TEST_P(Embedding, ForwardCopiesRowsAndTouchesNothingElse) {
  auto table = random_values(s_.codes * s_.dim, "table");
  std::vector<float> out(s_.rows * s_.stride, -7), expected = out;
  auto c = codes();
  embedding_forward(s_.rows, s_.dim, c.data(), table.data(), out.data(), s_.stride);
  ref::embedding_forward(s_.rows, s_.dim, c.data(), table.data(), expected.data(), s_.stride);
  expect_same_bits(out, expected);
}

TEST_P(Embedding, AddAddsRowsAndTouchesNothingElse) {
  auto table = random_values(s_.codes * s_.dim, "table"), out = random_values(s_.rows * s_.stride, "out");
  auto c = codes();
  auto expected = out;
  embedding_add(s_.rows, s_.dim, c.data(), table.data(), out.data(), s_.stride);
  for (size_t r = 0; r < s_.rows; ++r) {
    for (size_t d = 0; d < s_.dim; ++d) expected[r * s_.stride + d] += table[static_cast<size_t>(c[r]) * s_.dim + d];
  }
  expect_same_bits(out, expected);
}

TEST_P(Embedding, GradientAgreesWithTheReferenceAndRepeats) {
  auto dout = random_values(s_.rows * s_.stride, "dout");
  std::vector<float> dtable(s_.codes * s_.dim), again(dtable.size()), expected(dtable.size());
  auto c = codes();
  embedding_gradient(s_.rows, s_.dim, c.data(), dout.data(), s_.stride, dtable.data());
  embedding_gradient(s_.rows, s_.dim, c.data(), dout.data(), s_.stride, again.data());
  expect_same_bits(again, dtable);
  ref::embedding_gradient(s_.rows, s_.dim, c.data(), dout.data(), s_.stride, expected.data(), s_.codes);
  // At worst every row adds to one code: a running sum of `rows` values below 1.
  expect_close(dtable, expected, std::pow(static_cast<double>(s_.rows), 1.5) * kRounding);
}

// The forward pass is linear in the table, so a difference over any step is the gradient but for rounding.
TEST_P(Embedding, GradientAgreesWithFiniteDifferences) {
  auto table = random_values(s_.codes * s_.dim, "table");
  auto dout = random_values(s_.rows * s_.stride, "dout");
  auto c = codes();
  std::vector<float> dtable(table.size());
  embedding_gradient(s_.rows, s_.dim, c.data(), dout.data(), s_.stride, dtable.data());
  auto value = [&] {
    std::vector<float> out(s_.rows * s_.stride);
    embedding_forward(s_.rows, s_.dim, c.data(), table.data(), out.data(), s_.stride);
    double sum = 0;
    for (size_t i = 0; i < out.size(); ++i) sum += static_cast<double>(out[i]) * static_cast<double>(dout[i]);
    return sum;
  };
  for (size_t i = 0; i < table.size(); i += 1 + table.size() / 20) {
    float old = table[i];
    table[i] = old + 0.5F;
    double above = value();
    table[i] = old - 0.5F;
    EXPECT_NEAR(above - value(), static_cast<double>(dtable[i]), 1e-4) << i;
    table[i] = old;
  }
}

// Rows of 0 to 3 codes.
std::vector<uint32_t> bags(size_t codes) {
  std::vector<uint32_t> offsets = {0};
  for (uint32_t r = 0; offsets.back() < codes; ++r) {
    offsets.push_back(std::min(static_cast<uint32_t>(codes), offsets.back() + r * 7 % 4));
  }
  return offsets;
}

TEST_P(Embedding, BagIsTheMeanOfItsRows) {
  auto table = random_values(s_.codes * s_.dim, "table");
  auto c = codes();
  auto offsets = bags(c.size());
  const size_t rows = offsets.size() - 1;
  std::vector<float> out(rows * s_.stride, -7), expected = out;
  embedding_bag_forward(rows, s_.dim, c.data(), offsets.data(), table.data(), out.data(), s_.stride);
  ref::embedding_bag_forward(rows, s_.dim, c.data(), offsets.data(), table.data(), expected.data(), s_.stride);
  // Two additions, a reciprocal and a product of values below 3.
  expect_close(out, expected, 8 * kRounding);
}

TEST_P(Embedding, BagGradientAgreesWithTheReference) {
  auto c = codes();
  auto offsets = bags(c.size());
  const size_t rows = offsets.size() - 1;
  auto dout = random_values(rows * s_.stride, "dout");
  std::vector<float> dtable(s_.codes * s_.dim), expected(dtable.size());
  ref::embedding_bag_gradient(rows, s_.dim, c.data(), offsets.data(), dout.data(), s_.stride, expected.data(),
                              s_.codes);
  embedding_bag_share(rows, s_.dim, offsets.data(), dout.data(), s_.stride);
  embedding_bag_gradient(rows, s_.dim, c.data(), offsets.data(), dout.data(), s_.stride, dtable.data());
  expect_close(dtable, expected, std::pow(static_cast<double>(s_.rows), 1.5) * 2 * kRounding);
}

// The mean is linear in the table, too.
TEST_P(Embedding, BagGradientAgreesWithFiniteDifferences) {
  auto table = random_values(s_.codes * s_.dim, "table");
  auto c = codes();
  auto offsets = bags(c.size());
  const size_t rows = offsets.size() - 1;
  const auto dout = random_values(rows * s_.stride, "dout");
  std::vector<float> dtable(table.size());
  auto shared = dout;
  embedding_bag_share(rows, s_.dim, offsets.data(), shared.data(), s_.stride);
  embedding_bag_gradient(rows, s_.dim, c.data(), offsets.data(), shared.data(), s_.stride, dtable.data());
  auto value = [&] {
    std::vector<float> out(rows * s_.stride);
    embedding_bag_forward(rows, s_.dim, c.data(), offsets.data(), table.data(), out.data(), s_.stride);
    double sum = 0;
    for (size_t i = 0; i < out.size(); ++i) sum += static_cast<double>(out[i]) * static_cast<double>(dout[i]);
    return sum;
  };
  for (size_t i = 0; i < table.size(); i += 1 + table.size() / 20) {
    float old = table[i];
    table[i] = old + 0.5F;
    double above = value();
    table[i] = old - 0.5F;
    EXPECT_NEAR(above - value(), static_cast<double>(dtable[i]), 1e-4) << i;
    table[i] = old;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Embedding,
                         testing::Values(Shape{1, 1, 1, 1}, Shape{512, 16, 229, 33}, Shape{37, 5, 3, 9},
                                         Shape{100, 17, 40, 17}, Shape{64, 8, 1, 8}));

TEST(EmbeddingEdges, CodesNotSeenKeepAZeroGradient) {
  std::vector<int32_t> codes = {2, 2};
  std::vector<float> dout = {1, 2, 3, 4}, dtable(8);
  embedding_gradient(2, 2, codes.data(), dout.data(), 2, dtable.data());
  EXPECT_EQ(dtable, (std::vector<float>{0, 0, 0, 0, 4, 6, 0, 0}));
}

}  // namespace
}  // namespace freshet::kernels
