#include "kernels/cuda/device.h"

#include "kernels/cuda/reduce.h"
#include "tests/unit/kernels_cuda/support.h"

namespace freshet::cuda {
namespace {

using Device = CudaTest;

TEST_F(Device, HasProperties) {
  auto properties = device_properties();
  ASSERT_TRUE(properties.is_ok()) << properties.status().to_string();
  EXPECT_FALSE(properties->name.empty());
  EXPECT_GT(properties->shared_bytes_max, 48U * 1024);
}

TEST_F(Device, AnEventOrdersTwoStreams) {
  auto other = Stream::create();
  auto event = Event::create();
  ASSERT_TRUE(other.is_ok() && event.is_ok());
  Array<float> a(std::vector<float>(1000, 1)), b(std::vector<float>(1000, 2)), c(std::vector<float>(1000, 4));
  EXPECT_OK(tree_add(1000, a.data(), b.data(), stream()));
  EXPECT_OK(event->record(stream()));
  EXPECT_OK(other->wait(*event));
  EXPECT_OK(tree_add(1000, b.data(), c.data(), other->get()));
  EXPECT_OK(other->synchronize());
  EXPECT_EQ(c.values(), std::vector<float>(1000, 7));
}

TEST_F(Device, AGraphRepeatsWhatItRecordedOverWhatMemoryHoldsThen) {
  auto other = Stream::create();
  auto fork = Event::create(), join = Event::create();
  ASSERT_TRUE(other.is_ok() && fork.is_ok() && join.is_ok());
  Array<float> a(std::vector<float>(100, 1)), b(std::vector<float>(100, 0)), c(std::vector<float>(100, 0));
  Array<float> d(std::vector<float>(1, 0));
  EXPECT_OK(tree_add(1, a.data(), d.data(), stream()));  // loads the kernel, which a recording need not be able to
  expect_done();
  auto graph = Graph::capture(*stream_, [&] {
    RETURN_IF_ERROR(tree_add(100, a.data(), b.data(), stream()));
    RETURN_IF_ERROR(fork->record(stream()));
    RETURN_IF_ERROR(other->wait(*fork));
    RETURN_IF_ERROR(tree_add(100, b.data(), c.data(), other->get()));
    RETURN_IF_ERROR(join->record(other->get()));
    return stream_->wait(*join);
  });
  ASSERT_TRUE(graph.is_ok()) << graph.status().to_string();
  EXPECT_EQ(graph->nodes(), 2U);
  expect_done();
  EXPECT_EQ(b.values(), std::vector<float>(100, 0)) << "recording runs nothing";
  for (int i = 0; i < 3; ++i) EXPECT_OK(graph->launch(stream()));
  expect_done();
  EXPECT_EQ(b.values(), std::vector<float>(100, 3));
  EXPECT_EQ(c.values(), std::vector<float>(100, 6));
}

}  // namespace
}  // namespace freshet::cuda
