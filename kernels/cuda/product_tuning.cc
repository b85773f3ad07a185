// Timing the algorithms of each shape, over the device interface alone.
#include <algorithm>
#include <bit>
#include <cmath>
#include <type_traits>
#include <utility>

#include "base/log.h"
#include "base/random.h"
#include "kernels/cuda/compare.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/product_proposals.h"
#include "kernels/cuda/products.h"
#include "kernels/cuda/wgmma_matmul.h"
#include "kernels/float8.h"

namespace freshet::cuda {
namespace {

constexpr int kTrials = 7;
// Between two algorithms, times the root of the inner dimension: several roundings of the greatest sums of random
// values, and much less than what a wrong element is off by.
constexpr float kDifference = 0.05F;
constexpr size_t kPattern = (size_t{1} << 16) + 24;  // elements; rows of a matrix begin at different places of it

size_t bytes_of(Type type) {
  if (type == Type::kFloat8) return 1;
  return type == Type::kBfloat16 ? 2 : 4;
}

// Rows on borders of 128 bytes, as the engine's arrays have them.
size_t stride_of(Type type, size_t columns) {
  const size_t elements = 128 / bytes_of(type);
  return (columns + elements - 1) / elements * elements;
}

// Values in [-1, 1) of the type: what a product is computed of decides on the chip's power, and so on its clock.
std::vector<std::byte> random_pattern(Type type) {
  const Philox random(1, stream_of("operands of tuned products"));
  std::vector<std::byte> bytes;
  auto append = [&bytes](auto value) {
    const auto* first = reinterpret_cast<const std::byte*>(&value);
    bytes.insert(bytes.end(), first, first + sizeof(value));
  };
  for (size_t i = 0; i < kPattern; ++i) {
    const auto value = static_cast<float>(2 * random.uniform(i) - 1);
    if (type == Type::kFloat8) append(kernels::to_float8(value));
    if (type == Type::kBfloat16) append(kernels::to_bfloat16(value));
    if (type == Type::kFloat32) append(value);
  }
  return bytes;
}

Result<DeviceMemory> random_memory(Type type, size_t count, const Stream& stream) {
  const auto pattern = random_pattern(type);
  const size_t bytes = count * bytes_of(type);
  ASSIGN_OR_RETURN(auto memory, DeviceMemory::allocate(bytes));
  RETURN_IF_ERROR(copy_to_device(memory.data(), pattern.data(), std::min(bytes, pattern.size()), stream.get()));
  RETURN_IF_ERROR(stream.synchronize());
  for (size_t done = pattern.size(); done < bytes; done += pattern.size()) {
    RETURN_IF_ERROR(
        copy_on_device(memory.data() + done, memory.data(), std::min(pattern.size(), bytes - done), stream.get()));
  }
  return memory;
}

class Tuner {
 public:
  static Result<Tuner> create() {
    ASSIGN_OR_RETURN(auto stream, Stream::create());
    ASSIGN_OR_RETURN(const auto device, device_properties());
    ASSIGN_OR_RETURN(auto flush, DeviceMemory::allocate(2 * device.l2_bytes));
    ASSIGN_OR_RETURN(auto number, DeviceMemory::allocate(sizeof(uint64_t)));
    return Tuner(std::move(stream), device.name, std::move(flush), std::move(number));
  }

  // The fastest algorithm that is right and gives the same bits twice.
  Result<ProductTable::Entry> tune(const ProductShape& shape, bool with_own) {
    Operands operands;
    RETURN_IF_ERROR(fill(shape, &operands));
    ASSIGN_OR_RETURN(auto proposals, product_proposals(shape, operands.of));
    if (!with_own) std::erase_if(proposals, [](const auto& each) { return wgmma_tiles_of(each).has_value(); });
    // What the library proposes first, of what runs, is taken to be right.
    Status ran;
    for (const std::string& algorithm : proposals) {
      ran = run_once(shape, operands, algorithm);
      if (ran.is_ok()) break;
      warn(shape, algorithm, ran.message());
    }
    RETURN_IF_ERROR(ran);
    ASSIGN_OR_RETURN(const Outputs right, copy_of(operands));
    std::vector<ProductTable::Entry> timed;
    for (const std::string& algorithm : proposals) {
      const auto microseconds = time_of(shape, operands, algorithm);
      if (microseconds.is_ok()) {
        timed.push_back({shape, algorithm, *microseconds});
      } else {
        warn(shape, algorithm, microseconds.status().message());
      }
    }
    std::sort(timed.begin(), timed.end(), [](const auto& a, const auto& b) { return a.microseconds < b.microseconds; });
    for (const auto& entry : timed) {
      RETURN_IF_ERROR(run_once(shape, operands, entry.algorithm));
      ASSIGN_OR_RETURN(const uint64_t bits, checksum(operands));
      ASSIGN_OR_RETURN(const std::string difference, difference_to(right, shape, operands));
      RETURN_IF_ERROR(run_once(shape, operands, entry.algorithm));
      ASSIGN_OR_RETURN(const uint64_t bits_again, checksum(operands));
      if (bits == bits_again && difference.empty()) return entry;
      warn(shape, entry.algorithm, bits != bits_again ? "other bits the second time" : difference);
    }
    return internal("no algorithm for the product " + shape.name() + " is right and gives the same bits twice");
  }

  const std::string& device() const { return device_; }

 private:
  struct Operands {
    ProductOperands of;
    size_t c_bytes = 0, sums_bytes = 0;  // of what is computed
    std::vector<DeviceMemory> memory;
  };
  struct Outputs {
    DeviceMemory c, sums;
  };

  Tuner(Stream stream, std::string device, DeviceMemory flush, DeviceMemory number)
      : stream_(std::move(stream)), device_(std::move(device)), flush_(std::move(flush)), number_(std::move(number)) {}

  Status fill(const ProductShape& shape, Operands* operands) {
    auto add = [&](Type type, size_t rows, size_t stride, auto** data) {
      ASSIGN_OR_RETURN(auto memory, random_memory(type, rows * stride, stream_));
      *data = memory.data<std::remove_pointer_t<std::remove_reference_t<decltype(*data)>>>();
      operands->memory.push_back(std::move(memory));
      return Status::ok();
    };
    ProductOperands& of = operands->of;
    of.a_stride = stride_of(shape.operands, shape.a_transposed ? shape.m : shape.k);
    of.b_stride = stride_of(shape.operands, shape.b_transposed ? shape.k : shape.n);
    of.c_stride = stride_of(shape.result, shape.n);
    operands->c_bytes = shape.m * of.c_stride * bytes_of(shape.result);
    RETURN_IF_ERROR(add(shape.operands, shape.a_transposed ? shape.k : shape.m, of.a_stride, &of.a));
    RETURN_IF_ERROR(add(shape.operands, shape.b_transposed ? shape.n : shape.k, of.b_stride, &of.b));
    RETURN_IF_ERROR(add(shape.result, shape.m, of.c_stride, &of.c));
    if (takes_z(shape.epilogue)) RETURN_IF_ERROR(add(Type::kBfloat16, shape.m, of.c_stride, &of.z));
    if (takes_bias(shape.epilogue)) RETURN_IF_ERROR(add(Type::kBfloat16, 1, of.c_stride, &of.bias));
    if (!has_bias_gradient(shape.epilogue)) return Status::ok();
    operands->sums_bytes = shape.n * sizeof(float);
    return add(Type::kFloat32, 1, shape.n, &of.bias_gradient);
  }

  Result<Outputs> copy_of(const Operands& operands) {
    Outputs copy;
    ASSIGN_OR_RETURN(copy.c, DeviceMemory::allocate(operands.c_bytes));
    RETURN_IF_ERROR(copy_on_device(copy.c.data(), operands.of.c, operands.c_bytes, stream_.get()));
    if (operands.sums_bytes == 0) return copy;
    ASSIGN_OR_RETURN(copy.sums, DeviceMemory::allocate(operands.sums_bytes));
    RETURN_IF_ERROR(copy_on_device(copy.sums.data(), operands.of.bias_gradient, operands.sums_bytes, stream_.get()));
    return copy;
  }

  Result<Products> products_of(const ProductShape& shape, const std::string& algorithm) const {
    ProductTable table;
    table.device = device_;
    table.library = Products::library();
    table.entries.push_back({shape, algorithm, 0});
    return Products::create(table);
  }

  // The median of some runs, each with a cold cache.
  Result<double> time_of(const ProductShape& shape, const Operands& operands, const std::string& algorithm) {
    ASSIGN_OR_RETURN(auto products, products_of(shape, algorithm));
    std::vector<double> times;
    for (int trial = -1; trial < kTrials; ++trial) {  // the first one loads code
      ASSIGN_OR_RETURN(auto begin, Event::create(true));
      ASSIGN_OR_RETURN(auto end, Event::create(true));
      RETURN_IF_ERROR(fill_bytes(flush_.data(), 0, flush_.bytes(), stream_.get()));
      RETURN_IF_ERROR(begin.record(stream_.get()));
      RETURN_IF_ERROR(products.run(shape, operands.of, stream_.get()));
      RETURN_IF_ERROR(end.record(stream_.get()));
      RETURN_IF_ERROR(end.synchronize());
      ASSIGN_OR_RETURN(const float milliseconds, end.milliseconds_since(begin));
      if (trial >= 0) times.push_back(static_cast<double>(milliseconds) * 1000);
    }
    std::nth_element(times.begin(), times.begin() + kTrials / 2, times.end());
    return times[kTrials / 2];
  }

  // Into a C of zeros; sums that are not written are NaN.
  Status run_once(const ProductShape& shape, const Operands& operands, const std::string& algorithm) {
    ASSIGN_OR_RETURN(auto products, products_of(shape, algorithm));
    RETURN_IF_ERROR(fill_bytes(operands.of.c, 0, operands.c_bytes, stream_.get()));
    if (operands.sums_bytes > 0) {
      RETURN_IF_ERROR(fill_bytes(operands.of.bias_gradient, 0xFF, operands.sums_bytes, stream_.get()));
    }
    RETURN_IF_ERROR(products.run(shape, operands.of, stream_.get()));
    return stream_.synchronize();
  }

  Result<uint64_t> checksum(const Operands& operands) {
    uint64_t sum = 0;
    RETURN_IF_ERROR(fill_bytes(number_.data(), 0, sizeof(sum), stream_.get()));
    RETURN_IF_ERROR(add_checksum(operands.of.c, operands.c_bytes, number_.data<uint64_t>(), stream_.get()));
    if (operands.sums_bytes > 0) {
      RETURN_IF_ERROR(
          add_checksum(operands.of.bias_gradient, operands.sums_bytes, number_.data<uint64_t>(), stream_.get()));
    }
    RETURN_IF_ERROR(copy_to_host(&sum, number_.data(), sizeof(sum), stream_.get()));
    RETURN_IF_ERROR(stream_.synchronize());
    return sum;
  }

  // Empty when it is small, else what to say.
  Result<std::string> difference_to(const Outputs& right, const ProductShape& shape, const Operands& operands) {
    const size_t count = operands.c_bytes / bytes_of(shape.result);
    const float allowed = kDifference * std::sqrt(static_cast<float>(shape.k));
    ASSIGN_OR_RETURN(const float difference,
                     shape.result == Type::kFloat32
                         ? greatest_difference(count, static_cast<const float*>(operands.of.c), right.c.data<float>())
                         : greatest_difference(count, static_cast<const kernels::Bfloat16*>(operands.of.c),
                                               right.c.data<kernels::Bfloat16>()));
    if (!(difference <= allowed)) return "off by " + std::to_string(difference);
    if (operands.sums_bytes == 0) return std::string();
    ASSIGN_OR_RETURN(const float of_sums,
                     greatest_difference(shape.n, operands.of.bias_gradient, right.sums.data<float>()));
    // C's elements were rounded or not, to either side, which is less than some rows that are missing. Those of B are
    // what they are: no more than sums in float may be off by.
    const float allowed_of_sums = shape.epilogue == Epilogue::kBiasGradient
                                      ? kDifference
                                      : allowed * (1 + std::sqrt(static_cast<float>(shape.m)) / 8);
    return of_sums <= allowed_of_sums ? std::string() : "sums off by " + std::to_string(of_sums);
  }

  template <class T>
  Result<float> greatest_difference(size_t count, const T* a, const T* b) {
    uint32_t bits = 0;
    uint32_t* const number = number_.data<uint32_t>();
    RETURN_IF_ERROR(fill_bytes(number, 0, sizeof(bits), stream_.get()));
    RETURN_IF_ERROR(raise_to_difference(count, a, b, number, stream_.get()));
    RETURN_IF_ERROR(copy_to_host(&bits, number, sizeof(bits), stream_.get()));
    RETURN_IF_ERROR(stream_.synchronize());
    return std::bit_cast<float>(bits);
  }

  static void warn(const ProductShape& shape, const std::string& algorithm, const std::string& why) {
    log_warning("tuning", "product " + shape.name() + ", algorithm " + algorithm + " is left out: " + why);
  }

  Stream stream_;
  std::string device_;
  DeviceMemory flush_, number_;
};

}  // namespace

Result<ProductTable> tune_products(const std::vector<ProductShape>& shapes, bool with_own) {
  ASSIGN_OR_RETURN(auto tuner, Tuner::create());
  ProductTable table;
  table.device = tuner.device();
  table.library = Products::library();
  std::vector<ProductShape> each = shapes;
  std::sort(each.begin(), each.end());
  each.erase(std::unique(each.begin(), each.end()), each.end());
  for (const ProductShape& shape : each) {
    ASSIGN_OR_RETURN(auto entry, tuner.tune(shape, with_own));
    table.entries.push_back(std::move(entry));
  }
  return table;
}

}  // namespace freshet::cuda
