#include "kernels/cuda/embedding.h"

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "kernels/embedding.h"
#include "tests/unit/kernels_cuda/support.h"

namespace freshet::cuda {
namespace {

using EmbeddingCuda = CudaTest;

// Half of them token 3, so that it has many pieces; the others from all over.
std::vector<int32_t> some_tokens(size_t rows, size_t vocabulary) {
  const Philox philox(7);
  std::vector<int32_t> tokens(rows);
  for (size_t r = 0; r < rows; ++r) {
    const uint64_t drawn = philox.below(r, 2 * vocabulary);
    tokens[r] = drawn < vocabulary ? static_cast<int32_t>(drawn) : 3;
  }
  return tokens;
}

std::vector<int32_t> runs_of(const std::vector<int32_t>& tokens, size_t vocabulary) {
  std::vector<int32_t> runs(token_runs_size(tokens.size()), -1000);
  token_runs(tokens, vocabulary, runs);
  return runs;
}

TEST_F(EmbeddingCuda, ForwardAddsPositionsAndRoundsOnce) {
  for (auto [r, w, length] : {std::tuple{1, 8, 1}, {3, 64, 5}, {257, 24, 64}, {10, 768, 5}}) {
    const auto rows = static_cast<size_t>(r), width = static_cast<size_t>(w), vocabulary = size_t{50};
    const auto tokens = some_tokens(rows, vocabulary);
    const auto table = random_values16(vocabulary * width, "table");
    const auto positions = random_values16(static_cast<size_t>(length) * width, "positions");
    std::vector<float> words(rows * width);
    kernels::ref::embedding_forward(rows, width, tokens.data(), table.data(), words.data(), width);
    auto both = words;
    for (size_t i = 0; i < both.size(); ++i) {
      both[i] += positions[i / width % static_cast<size_t>(length) * width + i % width];
    }
    Array<int32_t> tokens_in(tokens);
    Array<Bfloat16> table_in(narrowed(table)), positions_in(narrowed(positions)), out(rows * width);
    for (bool has_positions : {true, false}) {
      EXPECT_OK(embedding_forward(rows, width, static_cast<size_t>(length), tokens_in.data(), table_in.data(),
                                  has_positions ? positions_in.data() : nullptr, out.data(), stream()));
      expect_done();
      EXPECT_EQ(out.values(), narrowed(has_positions ? both : words));
    }
  }
}

TEST_F(EmbeddingCuda, RunsListEachRowOnceByTokenAndRow) {
  for (size_t rows : {0, 1, 32, 33, 1000}) {
    const auto tokens = some_tokens(rows, 50), runs = runs_of(tokens, 50);
    std::vector<int32_t> order(runs.begin() + 2, runs.begin() + 2 + static_cast<long>(rows)), expected(rows);
    for (size_t r = 0; r < rows; ++r) expected[r] = static_cast<int32_t>(r);
    std::stable_sort(expected.begin(), expected.end(), [&](int32_t a, int32_t b) {
      return tokens[static_cast<size_t>(a)] < tokens[static_cast<size_t>(b)];
    });
    EXPECT_EQ(order, expected);
  }
}

TEST_F(EmbeddingCuda, BackwardAgreesWithTheReference) {
  const size_t vocabulary = 50;
  for (auto [r, w] : {std::pair{1, 8}, std::pair{3, 64}, std::pair{257, 768}, std::pair{2000, 8}, std::pair{70, 136}}) {
    const auto rows = static_cast<size_t>(r), width = static_cast<size_t>(w);
    const auto tokens = some_tokens(rows, vocabulary);
    const auto dout = random_values16(rows * width, "dout"), before = random_values(vocabulary * width, "before");
    std::vector<float> expected(vocabulary * width);
    kernels::ref::embedding_gradient(rows, width, tokens.data(), dout.data(), width, expected.data(), vocabulary);
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += before[i];

    Array<int32_t> runs(runs_of(tokens, vocabulary));
    Array<Bfloat16> dout_in(narrowed(dout));
    Array<float> scratch(std::max<size_t>(embedding_backward_scratch(rows, width), 1));
    std::vector<float> first;
    for (int time = 0; time < 2; ++time) {
      Array<float> dtable(before);
      EXPECT_OK(embedding_backward(rows, width, runs.data(), dout_in.data(), dtable.data(), scratch.data(), stream()));
      expect_done();
      const auto actual = dtable.values();
      // A token has at most `rows` rows of elements below 1, in running sums of fewer than 32 + rows / 256 + 9 terms.
      expect_close(actual, expected, static_cast<double>(rows + 1) * (rows / 256.0 + 42) * kRounding);
      for (size_t token = 0; token < vocabulary; ++token) {
        if (std::find(tokens.begin(), tokens.end(), static_cast<int32_t>(token)) != tokens.end()) continue;
        for (size_t c = token * width; c < (token + 1) * width; ++c) ASSERT_EQ(actual[c], before[c]) << c;
      }
      if (time == 0) first = actual;
      expect_same_bits(actual, first);
    }
  }
}

// The worst that can be: no slot and no token is forgotten or counted twice.
TEST_F(EmbeddingCuda, BackwardOfOneTokenAndOfAllTokensIsExact) {
  const size_t rows = 1056, width = 8, vocabulary = 33;
  const std::vector<Bfloat16> ones(rows * width, kernels::to_bfloat16(1.0F));
  for (size_t tokens_count : {size_t{1}, size_t{2}, size_t{32}, vocabulary}) {
    std::vector<int32_t> tokens(rows);
    std::vector<float> expected(vocabulary * width);
    for (size_t r = 0; r < rows; ++r) {
      tokens[r] = static_cast<int32_t>(r % tokens_count);
      for (size_t c = 0; c < width; ++c) ++expected[(r % tokens_count) * width + c];
    }
    Array<int32_t> runs(runs_of(tokens, vocabulary));
    Array<Bfloat16> dout(ones);
    Array<float> dtable(std::vector<float>(vocabulary * width)), scratch(embedding_backward_scratch(rows, width));
    EXPECT_OK(embedding_backward(rows, width, runs.data(), dout.data(), dtable.data(), scratch.data(), stream()));
    expect_done();
    EXPECT_EQ(dtable.values(), expected) << tokens_count;
  }
}

TEST_F(EmbeddingCuda, PositionsSumOverSequences) {
  // The last sequence may be short, and there may be positions without any.
  for (auto [r, w, l] : {std::tuple{1, 8, 1}, {130, 24, 13}, {135, 24, 13}, {3, 64, 5}}) {
    const auto rows = static_cast<size_t>(r), width = static_cast<size_t>(w), length = static_cast<size_t>(l);
    const auto dout = random_values16(rows * width, "dout");
    std::vector<double> sums(length * width);
    for (size_t i = 0; i < dout.size(); ++i) {
      sums[i / width % length * width + i % width] += static_cast<double>(dout[i]);
    }
    Array<Bfloat16> dout_in(narrowed(dout));
    Array<float> dpositions(length * width);
    EXPECT_OK(position_backward(rows, width, length, dout_in.data(), dpositions.data(), stream()));
    expect_done();
    // Eleven additions at most, of sums below 11.
    expect_close(dpositions.values(), std::vector<float>(sums.begin(), sums.end()), 11 * 11 * kRounding);
  }
}

TEST_F(EmbeddingCuda, RefusesWhatItCannotTake) {
  EXPECT_EQ(embedding_forward(1, 12, 1, nullptr, nullptr, nullptr, nullptr, stream()).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace freshet::cuda
