// The tabular model on a device beside the CPU's: losses, gradients and moved tables, for every kind of shape.
#include "worker/gpu/tabular_device.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "tests/unit/kernels_cuda/support.h"
#include "tests/unit/worker/recommender.h"

namespace freshet::worker {
namespace {

using cuda::Array;
using kernels::Bfloat16;

constexpr float kScale = 0.25F;

// Beside the others one whose layers are whole vectors of 8, so that products do what follows them.
std::map<std::string, TabularShape> shapes() {
  auto all = recommender_shapes();
  TabularShape whole = all.at("side by side");
  whole.numeric_layers = {16, 8};
  whole.hidden = {24, 16};
  all["layers of whole vectors"] = whole;
  return all;
}

// A model, rows for it, and weights that bfloat16 can hold.
struct Case {
  explicit Case(const TabularShape& shape)
      : model(*TabularModel::create(shape)), rows(recommender_rows(shape, 50)), parameters(model.parameters()) {
    for (size_t r = 0; r < rows.rows; ++r) rows.weight.push_back(r % 7 == 2 ? 0 : static_cast<float>(1 + r % 3));
    model.initialise(4, parameters.data());
    // Tables larger than they start, so that what depends on them is more than rounding; small matrices and large
    // biases of both signs, so that rounding turns no unit on or off: a single one would hide all other differences.
    for (const auto& tensor : model.tensors()) {
      float* values = &parameters[tensor.offset];
      for (size_t i = 0; i < tensor.size; ++i) {
        if (tensor.offset < model.dense_begin()) {
          values[i] *= 8;
        } else if (tensor.shape.size() == 1) {
          values[i] = i % 2 == 0 ? 2 : -2;
        } else {
          values[i] *= 0.2F;
        }
      }
    }
    for (size_t i = model.dense_begin(); i < parameters.size(); ++i) {
      parameters[i] = kernels::to_float(kernels::to_bfloat16(parameters[i]));
    }
  }
  DeviceEmbeddingsOptions options(size_t micro_batch, size_t slots) const {
    DeviceEmbeddingsOptions options;
    options.rows = micro_batch;
    options.slots = slots;
    options.adagrad = {0.1F, 1e-6F};
    for (const auto& feature : model.shape().categorical) {
      options.bag_codes_max.push_back(feature.multi_valued ? micro_batch * 3 : 0);
    }
    return options;
  }
  std::vector<Bfloat16> dense() const {
    return cuda::narrowed({parameters.begin() + static_cast<ptrdiff_t>(model.dense_begin()), parameters.end()});
  }

  TabularModel model;
  EncodedRows rows;
  std::vector<float> parameters;
};

class TabularDeviceTest : public cuda::CudaTest {
 protected:
  struct Outcome {
    std::vector<double> losses;
    std::vector<std::vector<float>> gradients;  // of each micro-batch
    std::vector<float> tables, sums;
  };

  // All rows, in micro-batches of `size`, the last of which is not full; then the tables are moved. That `rounds`
  // times, of which the last one's outcome is given. `start`: where the tables begin, else as the case has them.
  Outcome train(const Case& c, size_t size, bool as_graph, int rounds = 1, const Outcome* start = nullptr,
                const cuda::ProductTable& table = {}) {
    Outcome outcome;
    auto products = cuda::Products::create(table);
    EXPECT_TRUE(products.is_ok());
    const size_t slots = (c.rows.rows + size - 1) / size;
    // One more slot than are used, as in a step that is cut short.
    auto device = TabularDevice::create(c.model, c.options(size, slots + 1), &*products);
    EXPECT_TRUE(device.is_ok()) << device.status().to_string();
    size_t table_rows = 0;
    for (const auto& feature : c.model.shape().categorical) table_rows += feature.codes;
    outcome.sums.assign(table_rows, 0.01F);
    outcome.tables.resize(c.model.dense_begin());
    load(start ? start->tables : c.parameters, start ? start->sums : outcome.sums, device->embeddings()->tables());
    const Array<Bfloat16> weights(c.dense());
    Array<float> gradient(c.model.dense_parameters());
    Array<double> loss(size_t{1});
    const Array<std::byte> input(device->input_bytes());
    auto pinned = cuda::PinnedMemory::allocate(device->input_bytes());
    EXPECT_TRUE(pinned.is_ok());
    TabularBuffer buffer(c.model.shape(), size);
    auto pass = [&] {
      return device->forward_backward(input.data(), weights.data(), gradient.data(), loss.data(), &*stream_);
    };
    std::optional<cuda::Graph> graph;
    if (as_graph) {
      auto captured = cuda::Graph::capture(*stream_, pass);
      EXPECT_TRUE(captured.is_ok()) << captured.status().to_string();
      graph.emplace(*std::move(captured));
    }
    const auto indices = all_rows(c.rows);
    for (int round = 0; round < rounds; ++round) {
      outcome.losses.clear();
      outcome.gradients.clear();
      for (size_t slot = 0; slot < slots; ++slot) {
        const size_t first = slot * size, count = std::min(size, c.rows.rows - first);
        buffer.gather(c.rows, std::span(indices).subspan(first, count));
        EXPECT_OK(device->fill_input(buffer.batch(0, count), kScale, static_cast<uint32_t>(slot), pinned->data()));
        EXPECT_OK(cuda::copy_to_device(input.data(), pinned->data(), device->input_bytes(), stream()));
        EXPECT_OK(graph ? graph->launch(stream()) : pass());
        expect_done();
        outcome.losses.push_back(loss.values()[0]);
        outcome.gradients.push_back(gradient.values());
      }
      EXPECT_OK(device->embeddings()->update({}, &*stream_));
      // Nothing is left to be moved.
      EXPECT_OK(device->embeddings()->update({}, &*stream_));
      expect_done();
    }
    SingleCommunicator comm;
    EXPECT_OK(device->embeddings()->tables()->gather_values(&comm, &*stream_, outcome.tables.data()));
    EXPECT_OK(device->embeddings()->tables()->gather_sums(&comm, &*stream_, outcome.sums.data()));
    return outcome;
  }

  void load(std::span<const float> values, std::span<const float> sums, DeviceTables* tables) {
    std::vector<float> host(tables->bytes() / sizeof(float));
    for (const TableMemory& table : tables->view(host.data())) {
      std::copy_n(values.begin(), table.values.size(), table.values.begin());
      std::copy_n(sums.begin(), table.sums.size(), table.sums.begin());
      values = values.subspan(table.values.size());
      sums = sums.subspan(table.sums.size());
    }
    EXPECT_OK(tables->load(host.data(), &*stream_));
  }

  // How far apart two arrays are, by the length of the second.
  static double distance(std::span<const float> a, std::span<const float> b) {
    double squares = 0, length = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
      squares += difference * difference;
      length += static_cast<double>(b[i]) * static_cast<double>(b[i]);
    }
    return std::sqrt(squares / (length + 1e-12));
  }
};

TEST_F(TabularDeviceTest, LearnsWhatTheCpuLearns) {
  for (const auto& [name, shape] : shapes()) {
    SCOPED_TRACE(name);
    const Case c(shape);
    const size_t size = 20;
    const Outcome outcome = train(c, size, false);
    TabularModel::Workspace workspace(c.model, size);
    std::vector<float> gradient(c.model.parameters()), table_gradient(c.model.dense_begin());
    const auto indices = all_rows(c.rows);
    for (size_t slot = 0; slot < outcome.losses.size(); ++slot) {
      const size_t first = slot * size, count = std::min(size, c.rows.rows - first);
      auto loss = c.model.forward_backward(c.rows, std::span(indices).subspan(first, count), kScale,
                                           c.parameters.data(), gradient.data(), &workspace);
      ASSERT_TRUE(loss.is_ok());
      // Activations are good to 2^-8 each, in a few layers; their errors mostly cancel.
      EXPECT_NEAR(outcome.losses[slot], *loss, 0.02 * std::fabs(*loss));
      for (const auto& tensor : c.model.dense_tensors()) {
        const auto own = std::span(outcome.gradients[slot]).subspan(tensor.offset, tensor.size);
        const auto expected = std::span(gradient).subspan(c.model.dense_begin() + tensor.offset, tensor.size);
        EXPECT_LT(distance(own, expected), 0.02) << tensor.name << " of micro-batch " << slot;
      }
      for (size_t i = 0; i < table_gradient.size(); ++i) table_gradient[i] += gradient[i];
    }
    size_t row = 0;
    for (size_t f = 0; f < shape.categorical.size(); ++f) {
      const auto& tensor = c.model.tensors()[f];
      const size_t dim = shape.categorical[f].dim;
      std::vector<float> table(c.parameters.begin() + static_cast<ptrdiff_t>(tensor.offset),
                               c.parameters.begin() + static_cast<ptrdiff_t>(tensor.offset + tensor.size));
      std::vector<float> expected_step(table), step(table);
      for (size_t code = 0; code < shape.categorical[f].codes; ++code) {
        float sum = 0.01F;
        kernels::rowwise_adagrad({0.1F, 1e-6F}, dim, &table_gradient[tensor.offset + code * dim],
                                 &expected_step[code * dim], &sum);
        EXPECT_NEAR(static_cast<double>(outcome.sums[row]), static_cast<double>(sum), 0.05 * static_cast<double>(sum));
        ++row;
      }
      for (size_t i = 0; i < table.size(); ++i) {
        expected_step[i] -= table[i];
        step[i] = outcome.tables[tensor.offset + i] - table[i];
      }
      EXPECT_LT(distance(step, expected_step), 0.02) << tensor.name;
    }
  }
}

TEST_F(TabularDeviceTest, AGraphHasTheSameBits) {
  for (const auto& [name, shape] : shapes()) {
    SCOPED_TRACE(name);
    const Case c(shape);
    const Outcome queued = train(c, 17, false), recorded = train(c, 17, true);
    EXPECT_EQ(queued.losses, recorded.losses);
    for (size_t slot = 0; slot < queued.losses.size(); ++slot) {
      kernels::expect_same_bits(queued.gradients[slot], recorded.gradients[slot]);
    }
    kernels::expect_same_bits(queued.tables, recorded.tables);
    kernels::expect_same_bits(queued.sums, recorded.sums);
  }
}

TEST_F(TabularDeviceTest, NothingOfAStepIsLeftForTheNext) {
  for (const auto& [name, shape] : shapes()) {
    SCOPED_TRACE(name);
    const Case c(shape);
    const Outcome both = train(c, 17, false, 2), first = train(c, 17, false);
    const Outcome second = train(c, 17, false, 1, &first);
    EXPECT_EQ(both.losses, second.losses);
    for (size_t slot = 0; slot < both.losses.size(); ++slot) {
      kernels::expect_same_bits(both.gradients[slot], second.gradients[slot]);
    }
    kernels::expect_same_bits(both.tables, second.tables);
  }
}

TEST_F(TabularDeviceTest, NamesNoProductThatItDoesNotRun) {
  TabularShape shape;
  shape.categorical = {{"user", 23, 8, false}};
  shape.numeric = 13;
  shape.numeric_layers = {16, 8};
  shape.hidden = {24};
  shape.interaction = TabularShape::Interaction::kCross;
  shape.cross_layers = 2;
  shape.cross_rank = 8;
  auto model = TabularModel::create(shape);
  ASSERT_TRUE(model.is_ok());
  std::vector<std::string> names;
  for (const auto& product : TabularDevice::products_of(*model, 32)) names.push_back(product.name());
  std::sort(names.begin(), names.end());
  // Of 13 numbers, filled up to 16, the gradient is not wanted; all cross layers are of one shape.
  const std::vector<std::string> expected = {
      "16x16x32 tn bf16 f32 = none",          "16x8x32 tn bf16 f32 = none",
      "24x16x32 tn bf16 f32 = none",          "32x16x16 nt bf16 bf16 = bias_relu",
      "32x16x24 nn bf16 bf16 = none",         "32x16x8 nn bf16 bf16 += none",
      "32x16x8 nn bf16 bf16 = relu_gradient", "32x16x8 nt bf16 bf16 = none",
      "32x24x16 nt bf16 bf16 = bias_relu",    "32x24x8 nn bf16 bf16 = relu_gradient",
      "32x8x16 nn bf16 bf16 = none",          "32x8x16 nt bf16 bf16 = bias_relu",
      "32x8x16 nt bf16 bf16 = none",          "32x8x24 nt bf16 f32 = none",
      "8x16x32 tn bf16 f32 = none",           "8x24x32 tn bf16 f32 = none"};
  EXPECT_EQ(names, expected);
}

// A product that the table lacks would be an error.
TEST_F(TabularDeviceTest, RunsByATableThatWasTuned) {
  for (const char* name : {"cross of low rank, numeric layers, nothing hidden", "layers of whole vectors"}) {
    const Case c(shapes().at(name));
    auto table = cuda::tune_products(TabularDevice::products_of(c.model, 20));
    ASSERT_TRUE(table.is_ok()) << table.status().to_string();
    EXPECT_EQ(train(c, 20, false, 1, nullptr, *table).losses.size(), 3U);
  }
}

TEST_F(TabularDeviceTest, RefusesMoreCodesThanThereIsRoomFor) {
  const Case c(recommender_shapes().at("side by side"));
  auto products = cuda::Products::create();
  ASSERT_TRUE(products.is_ok());
  auto options = c.options(20, 1);
  options.bag_codes_max[1] = 2;
  auto device = TabularDevice::create(c.model, options, &*products);
  ASSERT_TRUE(device.is_ok());
  TabularBuffer buffer(c.model.shape(), 20);
  const auto indices = all_rows(c.rows);
  buffer.gather(c.rows, std::span(indices).first(20));
  std::vector<std::byte> input(device->input_bytes());
  const Status status = device->fill_input(buffer.batch(0, 20), 1, 0, input.data());
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_NE(status.message().find("feature tags has"), std::string::npos) << status.to_string();
}

}  // namespace
}  // namespace freshet::worker
