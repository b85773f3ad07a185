#include "kernels/cuda/products.h"

#include "kernels/cuda/compare.h"
#include "kernels/cuda/product_epilogue.h"
#include "tests/unit/kernels_cuda/products_support.h"

namespace freshet::cuda {
namespace {

class ProductsCuda : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    if (IsSkipped()) return;
    auto made = Products::create();
    ASSERT_TRUE(made.is_ok()) << made.status().to_string();
    products_.emplace(*std::move(made));
  }
  // Runs the shape twice and compares: with the reference, and with itself.
  void expect_right(const ProductShape& shape) {
    SCOPED_TRACE(shape.name());
    const ProductCase example(shape);
    auto run = [&](ProductArrays* arrays) {
      EXPECT_OK(products_->run(shape, arrays->operands(), stream()));
      expect_done();
    };
    ProductArrays first(example), second(example);
    run(&first);
    run(&second);
    expect_product(example, first);
    expect_same_bits(first.c(), second.c());
    if (has_bias_gradient(shape.epilogue)) expect_same_bits(first.bias_gradient(), second.bias_gradient());
  }

  std::optional<Products> products_;
};

TEST_F(ProductsCuda, EveryLayoutOfOddShapes) {
  for (auto [m, n, k] : {std::array<size_t, 3>{1, 1, 1}, {3, 17, 5}, {33, 8, 70}, {64, 65, 129}, {7, 200, 16}}) {
    for (bool a_transposed : {false, true}) {
      for (bool b_transposed : {false, true}) {
        for (Type result : {Type::kBfloat16, Type::kFloat32}) {
          for (bool accumulate : {false, true}) {
            expect_right({m, n, k, a_transposed, b_transposed, Type::kBfloat16, result, accumulate});
          }
        }
      }
    }
  }
}

TEST_F(ProductsCuda, EveryEpilogue) {
  for (auto [m, n, k] : {std::array<size_t, 3>{5, 3, 9}, {40, 64, 96}, {65, 136, 33}}) {
    for (bool b_transposed : {false, true}) {
      ProductShape shape{m, n, k, false, b_transposed};
      for (Epilogue epilogue : {Epilogue::kBias, Epilogue::kBiasGelu, Epilogue::kGeluGradient, Epilogue::kBiasRelu,
                                Epilogue::kReluGradient}) {
        shape.epilogue = epilogue;
        expect_right(shape);
      }
      shape.epilogue = Epilogue::kBias;
      shape.accumulate = true;
      expect_right(shape);
    }
    ProductShape shape{m, n, k, true, false, Type::kBfloat16, Type::kFloat32};
    shape.epilogue = Epilogue::kBiasGradient;
    expect_right(shape);
  }
}

TEST_F(ProductsCuda, EightBits) {
  for (auto [m, n, k] : {std::array<size_t, 3>{16, 16, 16}, {48, 80, 144}}) {
    ProductShape shape{m, n, k, false, true, Type::kFloat8};
    expect_right(shape);
    shape.epilogue = Epilogue::kBiasGelu;
    expect_right(shape);
    shape = {m, n, k, false, true, Type::kFloat8, Type::kFloat32, true};
    expect_right(shape);
  }
}

// The pass over C that stands in for an epilogue which cannot be fused.
TEST_F(ProductsCuda, AnEpilogueOfItsOwn) {
  Array<float> scratch(kProductScratchBytes / sizeof(float));
  for (auto [m, n] : {std::array<size_t, 2>{1, 1}, {3, 8}, {17, 100}, {64, 264}}) {
    for (Epilogue epilogue : {Epilogue::kBias, Epilogue::kBiasGelu, Epilogue::kGeluGradient, Epilogue::kBiasRelu,
                              Epilogue::kReluGradient, Epilogue::kBiasGradient}) {
      ProductShape shape{m, n, 140};
      shape.epilogue = epilogue;
      if (epilogue == Epilogue::kBiasGradient) shape.result = Type::kFloat32;
      SCOPED_TRACE(shape.name());
      const ProductCase example(shape);
      ProductArrays first(example), second(example);
      for (ProductArrays* arrays : {&first, &second}) {
        EXPECT_OK(products_->run(without_epilogue(shape), without_epilogue(arrays->operands()), stream()));
        EXPECT_OK(product_epilogue(shape, arrays->operands(), scratch.data(), stream()));
      }
      expect_done();
      expect_product(example, first);
      if (!has_bias_gradient(epilogue)) continue;
      expect_same_bits(first.bias_gradient(), second.bias_gradient());
      if (!is_gradient(epilogue)) continue;
      // The sums alone, of what was stored.
      EXPECT_OK(product_sums(shape, second.operands(), scratch.data(), stream()));
      expect_done();
      expect_product(example, second);
    }
  }
}

TEST_F(ProductsCuda, AVocabularyOfOddSize) {
  expect_right({24, 1257, 64, false, true});
  expect_right({1257, 40, 24, true, false, Type::kBfloat16, Type::kFloat32, true});
  expect_right({24, 40, 1257, false, false});
}

TEST_F(ProductsCuda, WhatCannotBeIsRefused) {
  const ProductShape good{16, 24, 32};
  Array<Bfloat16> memory(size_t{4096});
  const ProductOperands operands{memory.data(), 32, memory.data(), 24, memory.data(), 24};
  auto expect_refused = [&](ProductShape shape, ProductOperands with, const std::string& why) {
    const Status status = products_->run(shape, with, stream());
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_NE(status.message().find(why), std::string::npos) << status.to_string();
  };
  auto changed = [](auto value, auto change) {
    change(value);
    return value;
  };
  EXPECT_OK(check_product(good, operands));
  expect_refused(changed(good, [](auto& s) { s.n = 0; }), operands, "an extent is 0");
  expect_refused(changed(good, [](auto& s) { s.n = 25; }), operands, "the stride of b is 24");
  expect_refused(good, changed(operands, [](auto& o) { o.a_stride = 36; }), "the stride of a is 36");
  expect_refused(good, changed(operands, [&](auto& o) { o.c = memory.data() + 1; }), "a border of 16 bytes");
  expect_refused(changed(good, [](auto& s) { s.epilogue = Epilogue::kBias; }), operands, "bias is missing");
  expect_refused(good, changed(operands, [&](auto& o) { o.z = memory.data(); }), "z without a use");
  expect_refused(changed(good, [](auto& s) { s.epilogue = Epilogue::kBiasGradient; }), operands, "wants f32");
  const auto with_sums = changed(good, [](auto& s) {
    s.epilogue = Epilogue::kBiasGradient;
    s.result = Type::kFloat32;
  });
  expect_refused(with_sums, operands, "bias_gradient is missing");
  expect_refused(changed(with_sums, [](auto& s) { s.b_transposed = true; }),
                 changed(operands, [](auto& o) { o.b_stride = 32; }), "wants B as bf16 and n");
  expect_refused(changed(good, [](auto& s) { s.operands = Type::kFloat8; }), operands, "f8 wants the layout nt");
  expect_refused(changed(good, [](auto& s) { s.operands = Type::kFloat32; }), operands, "operands are bf16 or f8");
}

TEST_F(ProductsCuda, ATableSaysWhatMayRun) {
  const ProductShape shape{16, 24, 32}, other{16, 24, 40};
  ProductShape with_sums{200, 24, 8}, with_sums_of_b{8, 24, 200, true, false, Type::kBfloat16, Type::kFloat32};
  with_sums.epilogue = Epilogue::kGeluGradient;
  with_sums_of_b.epilogue = Epilogue::kBiasGradient;
  auto table = tune_products({other, shape, shape, with_sums, with_sums_of_b});
  ASSERT_TRUE(table.is_ok()) << table.status().to_string();
  ASSERT_EQ(table->entries.size(), 4U);
  std::erase_if(table->entries, [](const auto& entry) { return has_bias_gradient(entry.shape.epilogue); });
  EXPECT_EQ(table->entries[0].shape, shape);
  EXPECT_EQ(table->library, Products::library());

  auto products = Products::create(*table);
  ASSERT_TRUE(products.is_ok()) << products.status().to_string();
  const ProductCase example(shape);
  ProductArrays arrays(example);
  EXPECT_OK(products->run(shape, arrays.operands(), stream()));
  expect_done();
  expect_product(example, arrays);
  const ProductCase third_example({16, 24, 48});
  ProductArrays third(third_example);
  const Status status = products->run(third_example.shape, third.operands(), stream());
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_NE(status.message().find("16x24x48 nn bf16 bf16 = none: tune this model"), std::string::npos)
      << status.to_string();
  products = Products::create(*table, Unlisted::kFirstProposal);
  ASSERT_TRUE(products.is_ok()) << products.status().to_string();
  EXPECT_OK(products->run(shape, arrays.operands(), stream()));
  EXPECT_OK(products->run(third_example.shape, third.operands(), stream()));
  expect_done();
  expect_product(third_example, third);

  table->device = "another";
  EXPECT_EQ(Products::create(*table).status().code(), Code::kUnavailable);
}

TEST_F(ProductsCuda, AChecksumSeesEveryBitAndItsPlace) {
  std::vector<unsigned> words(100000, 5);
  auto sum_of = [&] {
    Array<unsigned> data(words);
    Array<uint64_t> sum(std::vector<uint64_t>{0});
    EXPECT_OK(add_checksum(data.data(), words.size() * 4, sum.data(), stream()));
    expect_done();
    return sum.values().front();
  };
  const uint64_t first = sum_of();
  EXPECT_EQ(sum_of(), first);
  words[70001] ^= 1;
  EXPECT_NE(sum_of(), first);
  words[70001] = 5;
  words[1] = 6;
  const uint64_t second = sum_of();
  std::swap(words[1], words[2]);
  EXPECT_NE(sum_of(), second);
}

TEST_F(ProductsCuda, TheGreatestDifference) {
  std::vector<float> a(70000, 1), b(70000, 1);
  auto difference = [&] {
    Array<float> da(a), db(b);
    Array<Bfloat16> da16(narrowed(a)), db16(narrowed(b));
    Array<uint32_t> bits(std::vector<uint32_t>(2, 0));
    EXPECT_OK(raise_to_difference(a.size(), da.data(), db.data(), bits.data(), stream()));
    EXPECT_OK(raise_to_difference(a.size(), da16.data(), db16.data(), bits.data() + 1, stream()));
    expect_done();
    EXPECT_EQ(bits.values()[0], bits.values()[1]);
    return std::bit_cast<float>(bits.values()[0]);
  };
  EXPECT_EQ(difference(), 0);
  a[69999] = 3;
  b[5] = 1.5F;
  EXPECT_EQ(difference(), 2);
  a[7] = std::nanf("");
  EXPECT_TRUE(std::isnan(difference()));
}

TEST(ProductTables, AsTextAndBack) {
  ProductTable table;
  table.device = "NVIDIA H200";
  table.library = "cuBLASLt 13.0.0";
  table.entries = {
      {{8, 50257, 768, false, true}, "0a1b", 12.5},
      {{8, 50257, 768, true, false, Type::kFloat8, Type::kFloat32, true, Epilogue::kNone}, "own-wide", 0.125},
      {{9, 1, 2, false, false, Type::kBfloat16, Type::kBfloat16, false, Epilogue::kGeluGradient}, "ff", 3}};
  EXPECT_EQ(table.to_text(),
            "freshet product table 1\ndevice NVIDIA H200\nlibrary cuBLASLt 13.0.0\n"
            "8x50257x768 nt bf16 bf16 = none 0a1b 12.500\n"
            "8x50257x768 tn f8 f32 += none own-wide 0.125\n"
            "9x1x2 nn bf16 bf16 = gelu_gradient ff 3.000\n");
  auto read = ProductTable::of_text(table.to_text());
  ASSERT_TRUE(read.is_ok()) << read.status().to_string();
  EXPECT_EQ(read->to_text(), table.to_text());
  EXPECT_EQ(read->digest(), table.digest());
  auto found = read->find(table.entries[1].shape);
  ASSERT_TRUE(found.is_ok());
  EXPECT_EQ(found->algorithm, "own-wide");
}

TEST(ProductTables, MoreTakesThePlaceOfOlder) {
  ProductTable table;
  table.add({{{3, 1, 1}, "c", 1}, {{1, 1, 1}, "a", 1}});
  table.add({{{2, 1, 1}, "b", 1}, {{3, 1, 1}, "d", 1}});
  std::string algorithms;
  for (const auto& entry : table.entries) algorithms += entry.algorithm;
  EXPECT_EQ(algorithms, "abd");
}

TEST(ProductTables, OnlyWhatIsAskedFor) {
  ProductTable table{{}, "a", "b"};
  table.add({{{1, 1, 1}, "a", 1}, {{2, 1, 1}, "b", 1}, {{3, 1, 1}, "c", 1}});
  auto part = table.only({{3, 1, 1}, {1, 1, 1}});
  ASSERT_TRUE(part.is_ok());
  ProductTable expected{{}, "a", "b"};
  expected.add({{{1, 1, 1}, "a", 1}, {{3, 1, 1}, "c", 1}});
  EXPECT_EQ(part->to_text(), expected.to_text());
  EXPECT_EQ(table.only({{4, 1, 1}}).status().code(), Code::kNotFound);
}

TEST(ProductTables, WhatIsNoneIsRefusedWithItsLine) {
  const std::string head = "freshet product table 1\ndevice a\nlibrary b\n";
  EXPECT_TRUE(ProductTable::of_text(head).is_ok());
  const std::string good = "8x8x8 nt bf16 bf16 = none 00 1.000\n";
  EXPECT_TRUE(ProductTable::of_text(head + good).is_ok());
  for (const auto& [text, why] : std::vector<std::pair<std::string, std::string>>{
           {"", "line 1: not a table"},
           {"freshet product table 1\nlibrary b\n", "line 2: the device's"},
           {head + "8x8 nt bf16 bf16 = none 00 1.000\n", "line 4: not a shape"},
           {head + "8x8x8 nq bf16 bf16 = none 00 1.000\n", "line 4: not a shape"},
           {head + "8x8x8 nt bf16 bf17 = none 00 1.000\n", "line 4: not a shape"},
           {head + "8x8x8 nt bf16 bf16 == none 00 1.000\n", "line 4: not a shape"},
           {head + "8x8x8 nt bf16 bf16 = none 00 1.000 \n", "line 4: not a shape"},
           {head + good + good, "line 5: shapes do not ascend"}}) {
    const Status status = ProductTable::of_text(text).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << text;
    EXPECT_NE(status.message().find(why), std::string::npos) << status.to_string();
  }
}

}  // namespace
}  // namespace freshet::cuda
