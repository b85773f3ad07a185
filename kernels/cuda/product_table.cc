// What the products over a CUDA library and the emulated ones have in common: the names of shapes, the table, and what
// is refused.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>

#include "base/parse_number.h"
#include "base/sha256.h"
#include "kernels/cuda/products.h"

namespace freshet::cuda {
namespace {

constexpr std::string_view kFirstLine = "freshet product table 1";

constexpr std::array<std::string_view, 3> kTypes = {"bf16", "f32", "f8"};
constexpr std::array<std::string_view, 7> kEpilogues = {"none",      "bias",          "bias_gelu",    "gelu_gradient",
                                                        "bias_relu", "relu_gradient", "bias_gradient"};

template <class Enum, size_t count>
bool parse_word(std::string_view word, const std::array<std::string_view, count>& words, Enum* value) {
  const auto found = std::find(words.begin(), words.end(), word);
  *value = static_cast<Enum>(found - words.begin());
  return found != words.end();
}

// Takes the text up to `border`, or all of it, from its front.
std::string_view take(std::string_view* text, char border) {
  const size_t end = std::min(text->find(border), text->size());
  const std::string_view word = text->substr(0, end);
  text->remove_prefix(std::min(end + 1, text->size()));
  return word;
}

bool parse_flag(char letter, char no, char yes, bool* value) {
  *value = letter == yes;
  return letter == yes || letter == no;
}

bool parse_entry(std::string_view line, ProductTable::Entry* entry) {
  ProductShape& shape = entry->shape;
  std::string_view size = take(&line, ' ');
  const bool has_size = parse_number(take(&size, 'x'), &shape.m) && parse_number(take(&size, 'x'), &shape.n) &&
                        parse_number(size, &shape.k);
  const std::string_view layout = take(&line, ' ');
  const bool has_layout = layout.size() == 2 && parse_flag(layout[0], 'n', 't', &shape.a_transposed) &&
                          parse_flag(layout[1], 'n', 't', &shape.b_transposed);
  const bool has_types =
      parse_word(take(&line, ' '), kTypes, &shape.operands) && parse_word(take(&line, ' '), kTypes, &shape.result);
  const std::string_view assignment = take(&line, ' ');
  shape.accumulate = assignment == "+=";
  const bool has_epilogue = parse_word(take(&line, ' '), kEpilogues, &shape.epilogue);
  entry->algorithm = take(&line, ' ');
  return has_size && has_layout && has_types && (assignment == "=" || shape.accumulate) && has_epilogue &&
         !entry->algorithm.empty() && parse_number(line, &entry->microseconds);
}

bool on_border(const void* data) { return reinterpret_cast<uintptr_t>(data) % 16 == 0; }

}  // namespace

std::string ProductShape::name() const {
  std::string text = std::to_string(m) + 'x' + std::to_string(n) + 'x' + std::to_string(k) + ' ';
  text += a_transposed ? 't' : 'n';
  text += b_transposed ? 't' : 'n';
  for (Type type : {operands, result}) text.append(1, ' ').append(kTypes[static_cast<size_t>(type)]);
  return text.append(accumulate ? " += " : " = ").append(kEpilogues[static_cast<size_t>(epilogue)]);
}

Status check_product(const ProductShape& shape, const ProductOperands& operands) {
  auto refused = [&shape](const std::string& why) { return invalid_argument("product " + shape.name() + ": " + why); };
  const bool is_float8 = shape.operands == Type::kFloat8;
  if (shape.m == 0 || shape.n == 0 || shape.k == 0) return refused("an extent is 0");
  if (shape.operands == Type::kFloat32) return refused("operands are bf16 or f8");
  if (shape.result == Type::kFloat8) return refused("a result is bf16 or f32");
  if (is_float8 && (shape.a_transposed || !shape.b_transposed)) return refused("f8 wants the layout nt");
  if (is_float8 && (shape.m % 16 != 0 || shape.n % 16 != 0 || shape.k % 16 != 0)) {
    return refused("f8 wants multiples of 16");
  }
  const bool has_z = takes_z(shape.epilogue), has_bias = takes_bias(shape.epilogue);
  const bool has_sums = has_bias_gradient(shape.epilogue), sums_b = shape.epilogue == Epilogue::kBiasGradient;
  if (shape.epilogue != Epilogue::kNone && (shape.result == Type::kBfloat16) == sums_b) {
    return refused(sums_b ? "the gradient of a bias wants f32" : "an epilogue wants bf16");
  }
  if (sums_b && (is_float8 || shape.b_transposed)) return refused("the gradient of a bias wants B as bf16 and n");
  if (shape.accumulate && (has_z || shape.epilogue == Epilogue::kBiasRelu)) {
    return refused("an activation of a part of a sum");
  }
  if (operands.a == nullptr || operands.b == nullptr || operands.c == nullptr) return refused("an operand is missing");
  if (has_bias != (operands.bias != nullptr)) return refused(has_bias ? "bias is missing" : "bias without a use");
  if (has_z != (operands.z != nullptr)) return refused(has_z ? "z is missing" : "z without a use");
  if (has_sums != (operands.bias_gradient != nullptr)) {
    return refused(has_sums ? "bias_gradient is missing" : "bias_gradient without a use");
  }
  if (!is_float8 && (operands.a_scale || operands.b_scale)) return refused("scales are for f8");
  for (const void* data :
       {operands.a, operands.b, static_cast<const void*>(operands.c), static_cast<const void*>(operands.bias),
        static_cast<const void*>(operands.z), static_cast<const void*>(operands.bias_gradient)}) {
    if (!on_border(data)) return refused("an operand that is not on a border of 16 bytes");
  }
  struct Rows {
    const char* of;
    size_t stride, columns;
  };
  for (const Rows& rows :
       {Rows{"a", operands.a_stride, shape.a_transposed ? shape.m : shape.k},
        Rows{"b", operands.b_stride, shape.b_transposed ? shape.k : shape.n}, Rows{"c", operands.c_stride, shape.n}}) {
    if (rows.stride < rows.columns || rows.stride % (is_float8 ? 16 : 8) != 0) {
      return refused(std::string("the stride of ") + rows.of + " is " + std::to_string(rows.stride));
    }
  }
  return Status::ok();
}

Result<ProductTable> ProductTable::of_text(std::string_view text) {
  ProductTable table;
  size_t number = 0;
  auto refused = [&number](const char* why) {
    return invalid_argument("product table, line " + std::to_string(number) + ": " + why);
  };
  auto next_line = [&] {
    ++number;
    return take(&text, '\n');
  };
  if (next_line() != kFirstLine) return refused("not a table of this version");
  for (auto [key, value] : {std::pair{"device", &table.device}, std::pair{"library", &table.library}}) {
    std::string_view line = next_line();
    if (take(&line, ' ') != key || line.empty()) return refused("the device's and the library's names come first");
    *value = line;
  }
  while (!text.empty()) {
    Entry entry;
    if (!parse_entry(next_line(), &entry)) return refused("not a shape, an algorithm and a time");
    if (!table.entries.empty() && table.entries.back().shape >= entry.shape) return refused("shapes do not ascend");
    table.entries.push_back(std::move(entry));
  }
  return table;
}

std::string ProductTable::to_text() const {
  std::string text = std::string(kFirstLine) + "\ndevice " + device + "\nlibrary " + library + '\n';
  for (const Entry& entry : entries) {
    char time[32];
    std::snprintf(time, sizeof(time), " %.3f\n", entry.microseconds);
    text += entry.shape.name() + ' ' + entry.algorithm + time;
  }
  return text;
}

std::string ProductTable::digest() const { return Sha256::hex_of(to_text()); }

namespace {

// Of the shape, or of the first that follows it.
template <class Entries>
auto place_of(Entries& entries, const ProductShape& shape) {
  return std::lower_bound(entries.begin(), entries.end(), shape,
                          [](const ProductTable::Entry& entry, const ProductShape& s) { return entry.shape < s; });
}

}  // namespace

Result<ProductTable::Entry> ProductTable::find(const ProductShape& shape) const {
  const auto found = place_of(entries, shape);
  if (found == entries.end() || found->shape != shape) {
    return not_found("the table of matrix products lacks " + shape.name() +
                     ": tune this model and micro-batch with freshet-tune");
  }
  return *found;
}

Result<ProductTable> ProductTable::only(const std::vector<ProductShape>& shapes) const {
  ProductTable part{{}, device, library};
  for (const ProductShape& shape : shapes) {
    ASSIGN_OR_RETURN(Entry entry, find(shape));
    part.add({std::move(entry)});
  }
  return part;
}

void ProductTable::add(const std::vector<Entry>& more) {
  for (const Entry& entry : more) {
    const auto place = place_of(entries, entry.shape);
    if (place != entries.end() && place->shape == entry.shape) {
      *place = entry;
    } else {
      entries.insert(place, entry);
    }
  }
}

Status ProductTable::check_made_for(const std::string& device_name, const std::string& library_name) const {
  if (device == device_name && library == library_name) return Status::ok();
  return unavailable("the table of matrix products was tuned on " + device + " with " + library + ", and this is " +
                     device_name + " with " + library_name + ": tune it here with freshet-tune");
}

}  // namespace freshet::cuda
