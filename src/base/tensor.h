// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/dtype.h"
#include "base/shape.h"

namespace lanner {

template <typename T>
constexpr bool dtype_matches(DType dtype) {
  using U = std::remove_const_t<T>;
  if constexpr (std::is_same_v<U, float>) return dtype == DType::kF32;
  if constexpr (std::is_same_v<U, uint16_t>) return dtype == DType::kF16 || dtype == DType::kBf16;
  if constexpr (std::is_same_v<U, int32_t>) return dtype == DType::kI32;
  if constexpr (std::is_same_v<U, int8_t>) return dtype == DType::kI8;
  return std::is_same_v<U, uint8_t> || std::is_same_v<U, std::byte>;  // raw bytes of any type
}

// A non-owning view of memory: pointer, shape, distance between rows, dtype. A row is the innermost
// dimension; its elements are adjacent. Rows are `row_stride` elements apart, so a view of some
// columns of a matrix is a Tensor too. Copying a Tensor copies the view.
class Tensor {
 public:
  Tensor() = default;
  // Rows packed without a gap. Throws Error(kInvalidArgument) if a row is no whole number of
  // blocks, rows overlap, or the size in bytes overflows.
  Tensor(void* data, DType dtype, Shape shape)
      : Tensor(data, dtype, shape, shape.rank() == 0 ? 1 : shape.size(-1)) {}
  Tensor(void* data, DType dtype, Shape shape, int64_t row_stride)
      : data_(static_cast<std::byte*>(data)),
        shape_(shape),
        row_stride_(row_stride),
        row_bytes_(dtype_bytes(dtype, row_stride)),
        dtype_(dtype) {
    const int64_t row = shape.rank() == 0 ? 1 : shape.size(-1);
    check_argument(row_stride >= row && row % dtype_info(dtype).block_elements == 0,
                   "rows of {} elements of {} cannot be {} elements apart", row, dtype, row_stride);
    checked_mul(num_rows(), row_bytes_, "tensor size");
  }

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t size(int dim) const { return shape_.size(dim); }
  int64_t numel() const { return shape_.numel(); }
  // All dimensions but the innermost, multiplied.
  int64_t num_rows() const {
    return shape_.rank() == 0 || shape_.size(-1) == 0 ? 0 : shape_.numel() / shape_.size(-1);
  }
  int64_t row_stride() const { return row_stride_; }  // elements
  int64_t row_bytes() const { return row_bytes_; }    // bytes between rows
  bool is_contiguous() const { return shape_.rank() == 0 || row_stride_ == shape_.size(-1); }
  // Bytes of all elements of a contiguous tensor.
  int64_t bytes() const { return shape_.rank() == 0 ? row_bytes_ : num_rows() * row_bytes_; }

  template <typename T>
  T* data() const {
    LANNER_CHECK(dtype_matches<T>(dtype_));
    return reinterpret_cast<T*>(data_);
  }
  std::byte* raw() const { return data_; }

  // Row i of the num_rows() rows.
  template <typename T>
  T* row(int64_t i) const {
    LANNER_CHECK(dtype_matches<T>(dtype_));
    return reinterpret_cast<T*>(data_ + i * row_bytes_);
  }
  std::byte* raw_row(int64_t i) const { return data_ + i * row_bytes_; }

  // Rows [begin, end) as a [end - begin, row size] tensor.
  Tensor rows(int64_t begin, int64_t end) const {
    LANNER_CHECK(0 <= begin && begin <= end && end <= num_rows());
    return Tensor(data_ + begin * row_bytes_, dtype_, Shape{end - begin, shape_.size(-1)},
                  row_stride_);
  }
  // Columns [begin, end) of every row, the same row stride; blocks are never cut.
  Tensor columns(int64_t begin, int64_t end) const {
    LANNER_CHECK(0 <= begin && begin <= end && end <= shape_.size(-1));
    return Tensor(data_ + dtype_bytes(dtype_, begin), dtype_, Shape{num_rows(), end - begin},
                  row_stride_);
  }
  // The same contiguous elements under another shape.
  Tensor reshaped(Shape shape) const {
    LANNER_CHECK(is_contiguous() && shape.numel() == shape_.numel());
    return Tensor(data_, dtype_, shape);
  }

 private:
  std::byte* data_ = nullptr;
  Shape shape_;
  int64_t row_stride_ = 0;
  int64_t row_bytes_ = 0;
  DType dtype_ = DType::kF32;
};

}  // namespace lanner
