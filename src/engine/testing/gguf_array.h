// SPDX-License-Identifier: Apache-2.0
// For tests only: a tensor as numbers, and what converters do to its rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "kernels/convert/convert.h"
#include "weights/checkpoint.h"

namespace lanner {

struct GgufArray {
  std::vector<int64_t> shape;
  std::vector<float> values;

  // Rows [begin, end) of each of `parts` equal parts.
  GgufArray rows(int64_t parts, int64_t begin, int64_t end) const {
    const int64_t width = shape.back();
    const auto part = static_cast<int64_t>(values.size()) / parts;
    GgufArray result{{parts * (end - begin), width}, {}};
    for (int64_t p = 0; p < parts; ++p) {
      result.values.insert(result.values.end(), values.begin() + p * part + begin * width,
                           values.begin() + p * part + end * width);
    }
    return result;
  }
  // The last two dimensions swapped.
  GgufArray transposed() const {
    GgufArray result = *this;
    const size_t rank = shape.size();
    const auto rows = static_cast<size_t>(shape[rank - 2]);
    const auto columns = static_cast<size_t>(shape[rank - 1]);
    std::swap(result.shape[rank - 2], result.shape[rank - 1]);
    for (size_t i = 0; i < values.size(); ++i) {
      const size_t matrix = i / (rows * columns), row = i / columns % rows, column = i % columns;
      result.values[(matrix * columns + column) * rows + row] = values[i];
    }
    return result;
  }
  // Every second row (or element of a vector's last dimension), from `first` on.
  GgufArray alternate(int first, bool is_bias) const {
    const auto width = static_cast<size_t>(is_bias ? 1 : shape.back());
    GgufArray result{shape, {}};
    result.shape[shape.size() - (is_bias ? 1 : 2)] /= 2;
    for (size_t row = static_cast<size_t>(first); row * width < values.size(); row += 2) {
      const auto from = values.begin() + static_cast<std::ptrdiff_t>(row * width);
      result.values.insert(result.values.end(), from, from + static_cast<std::ptrdiff_t>(width));
    }
    return result;
  }
  // Each head's rows from halves to pairs.
  void permute(int64_t heads) {
    const int64_t width = shape.size() == 1 ? 1 : shape.back();
    const int64_t head_dim = static_cast<int64_t>(values.size()) / width / heads;
    const std::vector<float> from = values;
    for (int64_t row = 0; row < heads * head_dim; ++row) {
      const int64_t i = row % head_dim;
      const int64_t to = row - i + 2 * (i % (head_dim / 2)) + i / (head_dim / 2);
      std::copy_n(from.begin() + row * width, width, values.begin() + to * width);
    }
  }
};

inline GgufArray load_array(const Checkpoint& checkpoint, const std::string& name) {
  const Tensor view = checkpoint.get(name).view;
  GgufArray array;
  array.shape.assign(view.shape().sizes().begin(), view.shape().sizes().end());
  array.values.resize(static_cast<size_t>(view.numel()));
  select_convert(view.dtype(), DType::kF32)(view.raw(), view.numel(), array.values.data());
  return array;
}

}  // namespace lanner
