#include "kernels/cuda/wgmma_matmul.h"

#include "tests/unit/kernels_cuda/products_support.h"

namespace freshet::cuda {
namespace {

class WgmmaMatmul : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    if (!IsSkipped() && !wgmma_matmul_takes({1, 1, 1})) GTEST_SKIP() << "it is of compute capability 9.0a alone";
  }
  // Twice: compared with the reference, and with itself.
  void expect_right(const ProductShape& shape) {
    SCOPED_TRACE(shape.name());
    const ProductCase example(shape);
    ProductArrays first(example), second(example);
    for (ProductArrays* arrays : {&first, &second}) {
      EXPECT_OK(check_product(shape, arrays->operands()));
      EXPECT_OK(wgmma_matmul(shape, arrays->operands(), stream()));
      expect_done();
    }
    expect_product(example, first);
    expect_same_bits(first.c(), second.c());
  }
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
  for (Epilogue epilogue : {Epilogue::kBias, Epilogue::kBiasGelu, Epilogue::kGeluGradient}) {
    ProductShape shape{129, 100, 40, false, epilogue != Epilogue::kGeluGradient};
    shape.epilogue = epilogue;
    expect_right(shape);
  }
  ProductShape shape{20, 17, 8};
  shape.epilogue = Epilogue::kBias;
  shape.accumulate = true;
  expect_right(shape);
}

// The ring of stages goes around, and a block takes several tiles.
TEST_F(WgmmaMatmul, ManyTilesAndStages) {
  expect_right({260, 258, 520, false, true});
  expect_right({1, 1, 1, false, false, Type::kBfloat16, Type::kFloat32});
}

// More than 132 tiles of 128 x 128: half as many of 128 x 256 cost less.
TEST_F(WgmmaMatmul, WideTiles) {
  ProductShape shape{9, 128 * 132 + 5, 8, false, true};
  shape.epilogue = Epilogue::kBiasGelu;
  expect_right(shape);
}

TEST_F(WgmmaMatmul, WhatItCannotIsRefused) {
  EXPECT_FALSE(wgmma_matmul_takes({16, 16, 16, false, true, Type::kFloat8}));
  EXPECT_EQ(wgmma_matmul({16, 16, 16, false, true, Type::kFloat8}, {}, stream()).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace freshet::cuda
