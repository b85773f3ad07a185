#include "kernels/cuda/adamw.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/unit/kernels_cuda/support.h"

namespace freshet::cuda {
namespace {

// Parameters with their borders of decay, and a step.
struct Case {
  size_t count = 0;
  std::vector<uint64_t> borders;
  StepInput input;
  StepOutput output;
  std::vector<float> gradient, w, m, v;

  explicit Case(size_t count_, std::vector<uint64_t> borders_ = {}) : count(count_), borders(std::move(borders_)) {
    gradient = random_values(count, "gradient");
    w = random_values(count, "w");
    m = random_values(count, "m", 0.1F);
    v = random_values(count, "v", 0.01F);
    for (float& value : v) value = std::abs(value);
    input.adamw.weight_decay = 0.1F;
    kernels::set_corrections(3, &input.adamw);
    input.step = 3;
    input.seed = 0x123456789ABCDEF0;
    output.gradient_scale = 0.7F;
    output.is_applied = 1;
  }

  // With the CPU's kernel, range after range.
  void step_on_cpu() {
    kernels::AdamWStep step = input.adamw;
    step.gradient_scale = output.gradient_scale;
    for (size_t begin = 0, border = 0; begin < count; ++border) {
      const size_t end = border < borders.size() ? std::min<size_t>(borders[border], count) : count;
      step.weight_decay = border % 2 == 1 ? input.adamw.weight_decay : 0;
      kernels::adamw(step, end - begin, gradient.data() + begin, w.data() + begin, m.data() + begin, v.data() + begin);
      begin = end;
    }
  }
};

// What a step on the device leaves.
struct Outcome {
  std::vector<float> gradient, w, m, v;
  std::vector<Bfloat16> rounded;
  bool operator==(const Outcome&) const = default;
};

class AdamWCuda : public CudaTest {
 protected:
  struct How {
    int version = 0;
    bool has_w = true;
    bool has_rounded = true;
    bool zero_gradient = true;
    Rounding rounding = Rounding::kNearest;
  };
  // The elements [first, end), which is whatever a rank may own.
  Outcome run(const Case& c, size_t first, size_t end, const How& how) const {
    auto part = [&](const auto& values) {
      return std::vector(values.begin() + static_cast<long>(first), values.begin() + static_cast<long>(end));
    };
    Array<float> gradient(part(c.gradient)), w(part(c.w)), m(part(c.m)), v(part(c.v));
    Array<Bfloat16> rounded(part(narrowed(c.w)));
    Array<uint64_t> borders(c.borders.empty() ? std::vector<uint64_t>(1) : c.borders);
    Array<StepInput> input(std::vector{c.input});
    Array<StepOutput> output(std::vector{c.output});
    AdamWSegment segment;
    segment.first = first;
    segment.count = end - first;
    segment.gradient = gradient.data();
    segment.w = how.has_w ? w.data() : nullptr;
    segment.m = m.data();
    segment.v = v.data();
    segment.rounded = how.has_rounded ? rounded.data() : nullptr;
    segment.decayed = borders.data();
    segment.decayed_borders = c.borders.size();
    segment.zero_gradient = how.zero_gradient;
    segment.rounding = how.rounding;
    EXPECT_OK(adamw(segment, input.data(), output.data(), stream(), how.version));
    expect_done();
    return {gradient.values(), w.values(), m.values(), v.values(), rounded.values()};
  }
};

class AdamWVersionsCuda : public AdamWCuda, public testing::WithParamInterface<int> {};

TEST_P(AdamWVersionsCuda, HasTheBitsOfTheCpu) {
  // Borders within a vector, at one, in neighbouring elements, at the end; more elements than a block.
  for (const auto& borders : std::vector<std::vector<uint64_t>>{{}, {0, 5000}, {4, 9}, {1, 2, 3, 1000, 1026, 1027}}) {
    for (size_t count : {1, 3, 64, 1027, 4099}) {
      Case c(count, borders);
      const Outcome zeroed = run(c, 0, count, {.version = GetParam()});
      const Outcome kept = run(c, 0, count, {.version = GetParam(), .has_rounded = false, .zero_gradient = false});
      const Case before = c;
      c.step_on_cpu();
      expect_same_bits(zeroed.w, c.w);
      expect_same_bits(zeroed.m, c.m);
      expect_same_bits(zeroed.v, c.v);
      EXPECT_EQ(zeroed.rounded, narrowed(c.w));
      EXPECT_EQ(zeroed.gradient, std::vector<float>(count));
      expect_same_bits(kept.w, c.w);
      EXPECT_EQ(kept.gradient, before.gradient);
      EXPECT_EQ(kept.rounded, narrowed(before.w));
    }
  }
}

// Random numbers and decay go by the element's place in all parameters.
TEST_P(AdamWVersionsCuda, GivesTheSameBitsForAnySplit) {
  const Case c(1500, {7, 501, 1001, 1499});
  const How how{.version = GetParam(), .rounding = Rounding::kStochastic};
  const Outcome whole = run(c, 0, 1500, {.version = 1, .rounding = Rounding::kStochastic});
  for (size_t cut : {1, 2, 503, 1024}) {
    const Outcome front = run(c, 0, cut, how);
    Outcome joined = front;
    const Outcome back = run(c, cut, 1500, how);
    joined.w.insert(joined.w.end(), back.w.begin(), back.w.end());
    joined.rounded.insert(joined.rounded.end(), back.rounded.begin(), back.rounded.end());
    expect_same_bits(joined.w, whole.w);
    EXPECT_EQ(joined.rounded, whole.rounded) << cut;
  }
}

TEST_P(AdamWVersionsCuda, LeavesAllAsItIsWhenTheStepIsNotApplied) {
  Case c(1027);
  c.output.is_applied = 0;
  c.gradient[5] = std::numeric_limits<float>::quiet_NaN();
  const Outcome result = run(c, 0, c.count, {.version = GetParam()});
  EXPECT_EQ(result.w, c.w);
  EXPECT_EQ(result.m, c.m);
  EXPECT_EQ(result.v, c.v);
  EXPECT_EQ(result.rounded, narrowed(c.w));
  EXPECT_EQ(result.gradient, std::vector<float>(c.count)) << "zeroing is no matter of the step";
}

TEST_P(AdamWVersionsCuda, WorksOnWeightsThatAreBfloat16) {
  Case c(1027, {0, 500});
  c.w = widened(narrowed(c.w));
  const Outcome result = run(c, 0, c.count, {.version = GetParam(), .has_w = false});
  c.step_on_cpu();
  EXPECT_EQ(result.rounded, narrowed(c.w));
  expect_same_bits(result.m, c.m);
}

TEST_P(AdamWVersionsCuda, RoundsRandomlyWithoutBias) {
  // Weights that stand still, a fraction of the way from one bfloat16 to the next.
  for (float fraction : {0.0F, 0.0625F, 0.5F, 0.875F}) {
    for (float sign : {1.0F, -1.0F}) {
      Case c(20000);
      c.input.adamw.learning_rate = 0;
      c.w.assign(c.count, sign * (1 + fraction * 0x1p-7F));
      const Outcome result = run(c, 0, c.count, {.version = GetParam(), .rounding = Rounding::kStochastic});
      double up = 0;
      for (Bfloat16 rounded : result.rounded) {
        const float value = sign * kernels::to_float(rounded);
        ASSERT_TRUE(value == 1 || value == 1 + 0x1p-7F) << value;
        up += value > 1 ? 1 : 0;
      }
      // Four standard deviations of a binomial share.
      const double f = static_cast<double>(fraction), count = static_cast<double>(c.count);
      EXPECT_NEAR(up / count, f, 4 * std::sqrt(f * (1 - f) / count)) << fraction;
      EXPECT_EQ(run(c, 0, c.count, {.version = GetParam(), .rounding = Rounding::kStochastic}), result);
      if (fraction > 0) {
        ++c.input.step;
        EXPECT_NE(run(c, 0, c.count, {.version = GetParam(), .rounding = Rounding::kStochastic}).rounded,
                  result.rounded)
            << "another step draws other numbers";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Versions, AdamWVersionsCuda, testing::Range(0, kAdamWVersions + 1));

TEST_F(AdamWCuda, RefusesWhatItCannotTake) {
  EXPECT_EQ(adamw({}, nullptr, nullptr, stream()).code(), Code::kInvalidArgument);
  AdamWSegment segment;
  float w = 0;
  segment.w = &w;
  EXPECT_EQ(adamw(segment, nullptr, nullptr, stream(), kAdamWVersions + 1).code(), Code::kInvalidArgument);
}

TEST_F(AdamWCuda, RoundsWeightsToNearest) {
  for (size_t count : {1, 7, 8, 9, 5001}) {
    const auto w = random_values(count, "w");
    Array<float> in(w);
    Array<Bfloat16> out(count);
    EXPECT_OK(round_weights(count, in.data(), out.data(), stream()));
    expect_done();
    EXPECT_EQ(out.values(), narrowed(w));
  }
}

class StepNumbersCuda : public CudaTest {
 protected:
  StepOutput finish(const StepInput& step, const std::vector<double>& losses,
                    const std::vector<double>& squares) const {
    Array<StepInput> input(std::vector{step});
    Array<double> losses_in(losses), squares_in(squares);
    Array<StepOutput> output(std::vector{StepOutput{-1, -1, -1, -1}});
    EXPECT_OK(finish_step_numbers(input.data(), losses.size(), losses_in.data(), squares.size(), squares_in.data(),
                                  output.data(), stream()));
    expect_done();
    return output.values()[0];
  }
};

TEST_F(StepNumbersCuda, AreSumNormAndFactor) {
  StepInput step;
  step.clip_norm = 1;
  // Whole numbers: any order is exact.
  std::vector<double> squares(5000);
  for (size_t i = 0; i < squares.size(); ++i) squares[i] = i % 2 == 0 ? 1 : 4;
  const StepOutput output = finish(step, {1.5, 2.25, 1e-3}, squares);
  EXPECT_EQ(output.loss, 1.5 + 2.25 + 1e-3);
  EXPECT_EQ(output.norm, std::sqrt(12500.0));
  EXPECT_EQ(output.gradient_scale, static_cast<float>(1 / std::sqrt(12500.0)));
  EXPECT_EQ(output.is_applied, 1);
}

TEST_F(StepNumbersCuda, ClipOnlyWhatIsLongerAndOnlyWhenAsked) {
  StepInput step;
  EXPECT_EQ(finish(step, {1}, {16}).gradient_scale, 1.0F);
  step.clip_norm = 5;
  EXPECT_EQ(finish(step, {1}, {16}).gradient_scale, 1.0F);
  step.clip_norm = 0.1;
  EXPECT_EQ(finish(step, {1}, {16}).gradient_scale, static_cast<float>(0.1 / 4));
}

TEST_F(StepNumbersCuda, RefuseBadSteps) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  StepInput step;
  EXPECT_EQ(finish(step, {1}, {16}).is_applied, 1);
  EXPECT_EQ(finish(step, {1, nan}, {16}).is_applied, 0);
  EXPECT_EQ(finish(step, {1, -infinity}, {16}).is_applied, 0);
  EXPECT_EQ(finish(step, {1}, {16, nan}).is_applied, 0);
  EXPECT_EQ(finish(step, {1}, {16, infinity}).is_applied, 0);
  step.loss_limit = 1;
  step.norm_limit = 4;
  EXPECT_EQ(finish(step, {1}, {16}).is_applied, 1);
  EXPECT_EQ(finish(step, {0.5, 0.625}, {16}).is_applied, 0);
  EXPECT_EQ(finish(step, {1}, {16, 1}).is_applied, 0);
}

}  // namespace
}  // namespace freshet::cuda
