#include "kernels/cuda/attention.h"

#include <algorithm>
#include <cmath>

#include "kernels/attention.h"
#include "tests/unit/kernels_cuda/support.h"

namespace freshet::cuda {
namespace {

constexpr size_t kGap = 8;  // elements between the heads of a token and the next token
constexpr Bfloat16 kPoison = 0xFFFF;

struct Case {
  size_t sequences, length, heads, kv_heads, size;
};

// q, k and v lie in one matrix: the query heads, the keys, the values, and a gap.
struct Problem {
  explicit Problem(const Case& c)
      : shape{c.sequences,
              c.length,
              c.heads,
              c.kv_heads,
              c.size,
              (c.heads + 2 * c.kv_heads) * c.size + kGap,
              c.heads * c.size + kGap},
        key(c.heads * c.size),
        value(key + c.kv_heads * c.size),
        tokens(c.sequences * c.length) {
    // Scores in about -10 to 10, so that some keys count and others do not.
    qkv = random_values16(tokens * shape.stride, "qkv", 3.0F);
    dout = random_values16(tokens * shape.out_stride, "dout");
    for (size_t t = 0; t < tokens; ++t) {
      for (size_t i = value; i < shape.stride; ++i) {
        qkv[t * shape.stride + i] = kernels::to_float(kernels::to_bfloat16(qkv[t * shape.stride + i] / 3));
      }
    }
  }
  // The part of a sequence and a key-value head that is one call of the reference.
  template <class Function>
  void for_each_group(Function function) const {
    const size_t group = shape.heads / shape.kv_heads;
    for (size_t s = 0; s < shape.sequences; ++s) {
      for (size_t h = 0; h < shape.kv_heads; ++h) {
        const size_t row = s * shape.length * shape.stride, out_row = s * shape.length * shape.out_stride;
        function(kernels::AttentionShape{shape.length, group, shape.size, shape.stride, shape.out_stride},
                 row + h * group * shape.size, row + key + h * shape.size, row + value + h * shape.size,
                 out_row + h * group * shape.size, (s * shape.heads + h * group) * shape.length);
      }
    }
  }

  AttentionShape shape;
  size_t key, value;  // columns of the first key and value
  size_t tokens;
  std::vector<float> qkv, dout;
};

struct Results {
  std::vector<Bfloat16> out, gradient;
  std::vector<float> log_sum;
};

double norm(const std::vector<float>& values) {
  double sum = 0;
  for (float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(sum);
}

// The columns from `first` to `end` of each row.
std::vector<float> columns(const std::vector<float>& values, size_t stride, size_t first, size_t end) {
  std::vector<float> part;
  for (size_t row = 0; row < values.size(); row += stride) {
    part.insert(part.end(), values.begin() + static_cast<ptrdiff_t>(row + first),
                values.begin() + static_cast<ptrdiff_t>(row + end));
  }
  return part;
}

class Attention : public CudaTest, public testing::WithParamInterface<int> {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    if (!IsSkipped() && version() == 2 && !has_wgmma()) GTEST_SKIP() << "version 2 needs compute capability 9.0";
  }
  int version() const { return GetParam(); }

  Results run(const Problem& problem) const {
    const AttentionShape& shape = problem.shape;
    auto inputs = narrowed(problem.qkv), douts = narrowed(problem.dout);
    for (size_t t = 0; t < problem.tokens; ++t) {  // what nothing may read
      std::fill_n(inputs.begin() + static_cast<ptrdiff_t>((t + 1) * shape.stride - kGap), kGap, kPoison);
      std::fill_n(douts.begin() + static_cast<ptrdiff_t>((t + 1) * shape.out_stride - kGap), kGap, kPoison);
    }
    Array<Bfloat16> qkv(inputs), dout(douts), out(problem.tokens * shape.out_stride), gradient(qkv.size());
    Array<float> log_sum(problem.tokens * shape.heads), scratch(attention_backward_scratch(shape) / sizeof(float));
    const Bfloat16 *q = qkv.data(), *k = q + problem.key, *v = q + problem.value;
    EXPECT_OK(attention_forward(shape, q, k, v, out.data(), log_sum.data(), stream(), version()));
    EXPECT_OK(attention_backward(shape, q, k, v, out.data(), log_sum.data(), dout.data(), gradient.data(),
                                 gradient.data() + problem.key, gradient.data() + problem.value, scratch.data(),
                                 stream(), version()));
    expect_done();
    return {out.values(), gradient.values(), log_sum.values()};
  }
};

INSTANTIATE_TEST_SUITE_P(Versions, Attention, testing::Range(1, kAttentionVersions + 1));

TEST_P(Attention, IsThatOfTheReference) {
  for (const Case& c :
       {Case{1, 1, 1, 1, 64}, Case{2, 17, 4, 2, 64}, Case{1, 64, 2, 2, 128}, Case{1, 65, 4, 1, 64},
        Case{2, 130, 2, 2, 64}, Case{1, 200, 4, 2, 64}, Case{1, 130, 4, 1, 64}, Case{1, 130, 4, 1, 128},
        Case{1, 200, 1, 1, 128}, Case{2, 65, 4, 2, 128}, Case{1, 400, 1, 1, 64}, Case{1, 400, 1, 1, 128}}) {
    SCOPED_TRACE(testing::Message() << c.sequences << " sequences of " << c.length << ", heads " << c.heads << "/"
                                    << c.kv_heads << " of " << c.size);
    const Problem problem(c);
    const AttentionShape& shape = problem.shape;
    std::vector<float> out(problem.tokens * shape.out_stride), log_sum(problem.tokens * shape.heads),
        gradient(problem.qkv.size());
    problem.for_each_group([&](const kernels::AttentionShape& part, size_t q, size_t k, size_t v, size_t o, size_t s) {
      const float* in = problem.qkv.data();
      kernels::ref::attention_forward(part, in + q, in + k, in + v, out.data() + o, log_sum.data() + s);
      kernels::ref::attention_gradient(part, in + q, in + k, in + v, problem.dout.data() + o, gradient.data() + q,
                                       gradient.data() + k, gradient.data() + v);
    });
    const Results results = run(problem);

    // A row of out is a mean of values of at most 1. Its probabilities are rounded to bfloat16, and so is the result;
    // a tenth of that is left for scores, powers and sums in float.
    const auto actual_out = widened(results.out);
    expect_close(columns(actual_out, shape.out_stride, 0, shape.out_stride - kGap),
                 columns(out, shape.out_stride, 0, shape.out_stride - kGap), 2.1 * kRounding16);
    expect_close(results.log_sum, log_sum, 1e-4);

    // The gradients are sums over tokens of terms with independent roundings: of out (in delta), of p or ds, and of the
    // result. A rounding's error is uniform, so its root mean square is below 2^-9 / sqrt(3): together 2^-9 of the norm
    // at most. Twice that is allowed for the norm; an element may lie eight such parts of the largest beside its own.
    const auto actual = widened(results.gradient);
    const size_t borders[] = {0, problem.key, problem.value, shape.stride - kGap};
    for (size_t i = 0; i < 3; ++i) {
      const auto got = columns(actual, shape.stride, borders[i], borders[i + 1]);
      const auto expected = columns(gradient, shape.stride, borders[i], borders[i + 1]);
      auto difference = got;
      float largest = 0;
      for (size_t j = 0; j < got.size(); ++j) {
        difference[j] -= expected[j];
        largest = std::max(largest, std::abs(expected[j]));
      }
      // With one token, dq and dk are zero but for the roundings of out and dout's sum: 64 or 128 terms of at most 1.
      const double least = std::sqrt(static_cast<double>(c.size)) * kRounding16;
      EXPECT_LE(norm(difference), 2 * kRounding16 * norm(expected) + least) << "gradient " << i;
      expect_close(got, expected, 8 * kRounding16 * static_cast<double>(largest) + least);
    }

    for (size_t t = 0; t < problem.tokens; ++t) {  // what nothing may write
      for (size_t i = 1; i <= kGap; ++i) {
        ASSERT_EQ(results.out[(t + 1) * shape.out_stride - i], kPoison) << "behind the out of token " << t;
        ASSERT_EQ(results.gradient[(t + 1) * shape.stride - i], kPoison) << "behind the gradient of token " << t;
      }
    }
  }
}

TEST_P(Attention, HasTheSameBitsEachTime) {
  for (const Case& c : {Case{2, 150, 2, 1, 64}, Case{1, 150, 2, 1, 128}}) {
    SCOPED_TRACE(c.size);
    const Problem problem(c);
    const Results first = run(problem), second = run(problem);
    EXPECT_EQ(first.out, second.out);
    EXPECT_EQ(first.gradient, second.gradient);
    expect_same_bits(first.log_sum, second.log_sum);
  }
}

TEST_P(Attention, StaysFiniteWhereScoresAreLarge) {
  Problem problem({1, 70, 1, 1, 64});
  for (size_t i = 0; i < problem.qkv.size(); ++i) problem.qkv[i] *= 64;  // scores of some ten thousands
  const Results results = run(problem);
  for (float value : columns(widened(results.out), problem.shape.out_stride, 0, 64)) ASSERT_TRUE(std::isfinite(value));
  for (float value : columns(widened(results.gradient), problem.shape.stride, 0, 3 * 64)) {
    ASSERT_TRUE(std::isfinite(value));
  }
}

using AttentionCall = CudaTest;

TEST_F(AttentionCall, RefusesWhatItCannotTake) {
  Array<Bfloat16> memory(size_t{1} << 16);
  Array<float> log_sum(size_t{1} << 12);
  const AttentionShape good{1, 8, 4, 2, 64, 512, 256};
  auto code = [&](AttentionShape shape, size_t offset = 0, int version = 1) {
    const Bfloat16* in = memory.data() + offset;
    return attention_forward(shape, in, in, in, memory.data(), log_sum.data(), stream(), version).code();
  };
  EXPECT_EQ(code(good), Code::kOk);
  for (auto change : std::vector<void (*)(AttentionShape&)>{
           [](AttentionShape& s) { s.size = 32; }, [](AttentionShape& s) { s.kv_heads = 3; },
           [](AttentionShape& s) { s.kv_heads = 0; }, [](AttentionShape& s) { s.heads = 0; },
           [](AttentionShape& s) { s.length = 0; }, [](AttentionShape& s) { s.stride = 508; },
           [](AttentionShape& s) { s.stride = 248; }, [](AttentionShape& s) { s.out_stride = 248; },
           [](AttentionShape& s) { s.sequences = 65536; }}) {
    AttentionShape bad = good;
    change(bad);
    EXPECT_EQ(code(bad), Code::kInvalidArgument);
  }
  EXPECT_EQ(code(good, 1), Code::kInvalidArgument);
  EXPECT_EQ(code(good, 0, kAttentionVersions + 1), Code::kInvalidArgument);
}

}  // namespace
}  // namespace freshet::cuda
