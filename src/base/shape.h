// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>

#include <fmt/format.h>

#include "base/checked.h"

namespace lanner {

// Up to four sizes, outermost first. Sizes are not negative.
class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes)
      : Shape(std::span<const int64_t>(sizes.begin(), sizes.size())) {}
  // Throws Error(kInvalidArgument) for more than four or negative sizes, or a product that
  // overflows.
  explicit Shape(std::span<const int64_t> sizes) {
    check_argument(sizes.size() <= kMaxRank, "a tensor has at most {} dimensions, not {}", kMaxRank,
                   sizes.size());
    for (int64_t size : sizes) {
      check_argument(size >= 0, "a tensor cannot have size {}", size);
      sizes_[static_cast<size_t>(rank_++)] = size;
      numel_ = checked_mul(numel_, size, "number of elements");
    }
  }

  int rank() const { return rank_; }
  int64_t numel() const { return numel_; }
  // size(-1) is the innermost.
  int64_t size(int dim) const {
    const int index = dim < 0 ? dim + rank_ : dim;
    LANNER_CHECK(index >= 0 && index < rank_);
    return sizes_[static_cast<size_t>(index)];
  }
  int64_t operator[](int dim) const { return size(dim); }
  std::span<const int64_t> sizes() const { return {sizes_.data(), static_cast<size_t>(rank_)}; }

  friend bool operator==(const Shape& a, const Shape& b) {
    return a.rank_ == b.rank_ && a.sizes_ == b.sizes_;
  }

 private:
  std::array<int64_t, kMaxRank> sizes_{};
  int rank_ = 0;
  int64_t numel_ = 1;
};

}  // namespace lanner

// "[2, 4096]"
template <>
struct fmt::formatter<lanner::Shape> {
  constexpr auto parse(fmt::format_parse_context& context) { return context.begin(); }
  template <typename Context>
  auto format(const lanner::Shape& shape, Context& context) const {
    return fmt::format_to(context.out(), "[{}]", fmt::join(shape.sizes(), ", "));
  }
};
