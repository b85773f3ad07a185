#include "kernels/cuda/wgmma_matmul.h"

#include "kernels/cuda/product_epilogue.h"
#include "tests/unit/kernels_cuda/products_support.h"

namespace freshet::cuda {
namespace {

class WgmmaMatmul : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    if (!IsSkipped() && !wgmma_matmul_takes({1, 1, 1})) GTEST_SKIP() << "it is of compute capability 9.0a alone";
    if (!IsSkipped()) scratch_.emplace(kProductScratchBytes / sizeof(float));
  }
  // Both versions: compared with the reference, and with each other.
  void expect_right(const ProductShape& shape) {
    SCOPED_TRACE(shape.name());
    const ProductCase example(shape);
    ProductArrays wide(example), narrow(example);
    EXPECT_OK(check_product(shape, wide.operands()));
    EXPECT_OK(wgmma_matmul(shape, wide.operands(), WgmmaTiles::kWide, scratch_->data(), stream()));
    EXPECT_OK(wgmma_matmul(shape, narrow.operands(), WgmmaTiles::kNarrow, scratch_->data(), stream()));
    expect_done();
    expect_product(example, wide);
    expect_product(example, narrow);
    expect_same_bits(wide.c(), narrow.c());
    if (has_bias_gradient(shape.epilogue)) expect_same_bits(wide.bias_gradient(), narrow.bias_gradient());
  }

  std::optional<Array<float>> scratch_;
};

TEST_F(WgmmaMatmul, EveryLayoutAndResult) {
  for (bool a_transposed : {false, true}) {
    for (bool b_transposed : {false, true}) {
      for (Type result : {Type::kBfloat16, Type::kFloat32}) {
        expect_right({70, 131, 65, a_transposed, b_transposed, Type::kBfloat16, result, a_transposed});
      }
    }
  }
}

TEST_F(WgmmaMatmul, EveryEpilogue) {
  for (Epilogue epilogue : {Epilogue::kBias, Epilogue::kBiasGelu, Epilogue::kGeluGradient, Epilogue::kBiasRelu,
                            Epilogue::kReluGradient, Epilogue::kBiasGradient}) {
    ProductShape shape{129, 100, 40, false, takes_bias(epilogue)};
    if (epilogue == Epilogue::kBiasGradient) shape.result = Type::kFloat32;
    shape.epilogue = epilogue;
    expect_right(shape);
  }
  ProductShape shape{20, 17, 8};
  shape.epilogue = Epilogue::kBias;
  shape.accumulate = true;
  expect_right(shape);
}

// Of several tiles, each way; a part for each 64 rows, of which the last has one.
TEST_F(WgmmaMatmul, SumsOfColumns) {
  for (Epilogue epilogue : {Epilogue::kGeluGradient, Epilogue::kReluGradient}) {
    ProductShape shape{321, 523, 24, false, true};
    shape.epilogue = epilogue;
    expect_right(shape);
  }
  ProductShape shape{size_t{1} << 20, 1024, 8};
  shape.epilogue = Epilogue::kGeluGradient;
  EXPECT_FALSE(wgmma_matmul_takes(shape)) << "64 MiB of parts";
}

// The ring of stages goes around, and a block takes several tiles.
TEST_F(WgmmaMatmul, ManyTilesAndStages) {
  expect_right({260, 600, 520, false, true});
  expect_right({1, 1, 1, false, false, Type::kBfloat16, Type::kFloat32});
}

TEST_F(WgmmaMatmul, TheSameBitsTwice) {
  const ProductShape shape{140, 300, 200, true, false, Type::kBfloat16, Type::kFloat32, true};
  const ProductCase example(shape);
  ProductArrays first(example), second(example);
  for (ProductArrays* arrays : {&first, &second}) {
    EXPECT_OK(wgmma_matmul(shape, arrays->operands(), WgmmaTiles::kNarrow, nullptr, stream()));
    expect_done();
  }
  expect_same_bits(first.c(), second.c());
}

TEST_F(WgmmaMatmul, WhatItCannotIsRefused) {
  EXPECT_FALSE(wgmma_matmul_takes({16, 16, 16, false, true, Type::kFloat8}));
  EXPECT_EQ(wgmma_matmul({16, 16, 16, false, true, Type::kFloat8}, {}, WgmmaTiles::kWide, nullptr, stream()).code(),
            Code::kInvalidArgument);
}

}  // namespace
}  // namespace freshet::cuda
