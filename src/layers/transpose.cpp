// SPDX-License-Identifier: Apache-2.0
#include "layers/transpose.h"

#include <algorithm>

#include "base/error.h"

namespace lanner {
namespace {

constexpr int64_t kTile = 32;  // whose rows and columns both stay in the first-level cache

template <typename T>
void transpose_elements(const Tensor& x, std::byte* to) {
  const int64_t rows = x.num_rows(), columns = x.size(-1);
  auto* out = reinterpret_cast<T*>(to);
  for (int64_t row = 0; row < rows; row += kTile) {
    for (int64_t column = 0; column < columns; column += kTile) {
      for (int64_t r = row; r < std::min(row + kTile, rows); ++r) {
        const auto* in = reinterpret_cast<const T*>(x.raw_row(r));
        for (int64_t c = column; c < std::min(column + kTile, columns); ++c) {
          out[c * rows + r] = in[c];
        }
      }
    }
  }
}

}  // namespace

void transpose(const Tensor& x, std::byte* to, const std::string& name) {
  const DTypeInfo& type = dtype_info(x.dtype());
  if (type.block_elements == 1 && type.block_bytes == 4) return transpose_elements<uint32_t>(x, to);
  if (type.block_elements == 1 && type.block_bytes == 2) return transpose_elements<uint16_t>(x, to);
  throw_error(ErrorCode::kUnsupported, "tensor '{}' of type {} cannot be transposed", name,
              x.dtype());
}

}  // namespace lanner
