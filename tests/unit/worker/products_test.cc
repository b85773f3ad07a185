#include "worker/model/products.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "base/random.h"

namespace freshet::worker {
namespace {

std::vector<float> values(size_t count, const char* name) {
  Philox philox(9, stream_of(name));
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(philox.uniform(i) - 0.5);
  return values;
}

class Products : public testing::TestWithParam<std::tuple<bool, bool, bool>> {};

// Several tiles in both directions, the last ones narrower; what follows a tile sees it computed, each element once.
TEST_P(Products, AreThoseOfOneCallAndTheSameBitsOnAnyThreads) {
  auto [a_transposed, b_transposed, accumulate] = GetParam();
  const size_t m = 600, n = 430, k = 37, stride = n + 5;
  auto a = values(m * k, "a"), b = values(k * n, "b"), before = values(m * stride, "c");
  const Factor left{a.data(), nullptr, a_transposed ? m : k, a_transposed};
  const Factor right{b.data(), nullptr, b_transposed ? k : n, b_transposed};
  auto run = [&, accumulate = accumulate](unsigned threads) {
    ThreadPool pool(threads);
    auto c = before;
    std::vector<float> again(2 * m * k);
    std::atomic<int> beside = 0;
    Product product{{m, n, k, accumulate}, left, right, c.data(), stride, {}};
    product.then = [&](const TileRange& t) {
      for (size_t r = t.row; r < t.row + t.rows; ++r) {
        for (size_t col = t.column; col < t.column + t.columns; ++col) c[r * stride + col] += 100;
      }
    };
    // A second product, after the first in the list of tiles: a by the start of b, as [k][k].
    Product other{{m, k, k}, left, right, again.data(), k, {}};
    std::vector<std::function<void()>> side(7, [&] { ++beside; });
    Status status = run_products({product, other}, side, &pool);
    EXPECT_TRUE(status.is_ok()) << status.to_string();
    EXPECT_EQ(beside, 7);
    c.insert(c.end(), again.begin(), again.end());
    return c;
  };
  auto result = run(1);
  for (size_t r = 0; r < m; ++r) {
    for (size_t col = 0; col < stride; ++col) {
      double sum = col < n && accumulate ? static_cast<double>(before[r * stride + col]) : 0;
      for (size_t i = 0; i < k && col < n; ++i) {
        sum += static_cast<double>(a[a_transposed ? i * m + r : r * k + i]) *
               static_cast<double>(b[b_transposed ? col * k + i : i * n + col]);
      }
      double expected = col < n ? sum + 100 : static_cast<double>(before[r * stride + col]);
      ASSERT_NEAR(static_cast<double>(result[r * stride + col]), expected, 1e-4) << "row " << r << " column " << col;
      if (col >= k) continue;
      double square = accumulate ? sum - static_cast<double>(before[r * stride + col]) : sum;
      ASSERT_NEAR(static_cast<double>(result[m * stride + r * k + col]), square, 1e-4) << "row " << r;
    }
  }
  for (unsigned threads : {2, 3, 4, 8}) EXPECT_EQ(run(threads), result) << threads;
}

INSTANTIATE_TEST_SUITE_P(Layouts, Products, testing::Combine(testing::Bool(), testing::Bool(), testing::Bool()));

TEST(ProductsEdges, RowsAreCutIntoPieces) {
  ThreadPool pool(3);
  std::vector<int> seen(100);
  Status status = run_rows(
      100, 32,
      [&](size_t begin, size_t end) {
        EXPECT_EQ(begin % 32, 0U);
        for (size_t r = begin; r < end; ++r) ++seen[r];
      },
      &pool);
  EXPECT_TRUE(status.is_ok());
  EXPECT_EQ(seen, std::vector<int>(100, 1));
}

}  // namespace
}  // namespace freshet::worker
