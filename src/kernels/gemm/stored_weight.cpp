// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/stored_weight.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/buffer.h"
#include "base/error.h"
#include "kernels/convert/convert.h"
#include "kernels/convert/quantize_q4k.h"
#include "kernels/gemm/packed_weight.h"

namespace lanner {
namespace {

constexpr int64_t kScaleBytes = sizeof(float);  // behind a row of w8a8

// The values of group g of a row in a packed block, with the zero point still on them.
void read_group(const std::byte* block, const GemmLayout& layout, int g, int row, uint8_t* q) {
  const std::byte* values = block + layout.q_offset + row * 4;
  const int begin = g * layout.scale_group;
  for (int i = 0; i < layout.scale_group; i += layout.bits == 8 ? 4 : 8) {
    const int k = begin + i;
    if (layout.bits == 8) {
      std::memcpy(q + i, values + k / 4 * 64, 4);
      continue;
    }
    uint32_t both;
    std::memcpy(&both, values + k / 8 * 64, 4);
    const uint32_t low = both & 0x0f0f0f0fu;
    const uint32_t high = both >> 4 & 0x0f0f0f0fu;
    std::memcpy(q + i, &low, 4);
    std::memcpy(q + i + 4, &high, 4);
  }
}

// One row of a panel of groups, as the blocks of the type it is stored in.
void store_groups(const std::byte* panel, const GemmLayout& layout, int row, int64_t k,
                  std::byte* out) {
  uint8_t q[128];
  const int half = layout.scale_group / 2;
  for (int64_t begin = 0; begin < k; begin += layout.scale_group) {
    const std::byte* block = panel + begin / layout.k_block * layout.block_bytes;
    const int g = static_cast<int>(begin % layout.k_block) / layout.scale_group;
    const int scale_at = (g * kPanelRows + row) * 2;
    std::memcpy(out, block + layout.scale_offset + scale_at, 2);
    out += 2;
    if (layout.has_min) {
      std::memcpy(out, block + layout.min_offset + scale_at, 2);
      out += 2;
    }
    read_group(block, layout, g, row, q);
    if (layout.bits == 8) {
      for (int i = 0; i < layout.scale_group; ++i) *out++ = std::byte(q[i] ^ 0x80);
    } else {
      for (int i = 0; i < half; ++i) *out++ = std::byte(q[i] | q[i + half] << 4);
    }
  }
}

// One row of a panel of w8a8: its values, then its scale.
void store_int8_row(const std::byte* panel, int row, int64_t k, float scale, std::byte* out) {
  for (int64_t i = 0; i < k; ++i) {
    out[i] = panel[i / 4 * 64 + row * 4 + i % 4] ^ std::byte{0x80};
  }
  std::memcpy(out + k, &scale, kScaleBytes);
}

// Rows of a packed weight of one part.
void store_rows(const PackedWeight& weight, int64_t row_bytes, std::byte* rows,
                ThreadPool& threads) {
  const GemmSegment& s = weight.impl().segments.front();
  threads.parallel_for(s.n, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const std::byte* panel = s.data + n / kPanelRows * s.panel_bytes;
      const int row = static_cast<int>(n % kPanelRows);
      std::byte* out = rows + n * row_bytes;
      if (s.layout.bits == 0) {
        store_int8_row(panel, row, weight.k(), s.scale[n], out);
      } else {
        store_groups(panel, s.layout, row, weight.k(), out);
      }
    }
  });
}

bool is_plain(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBf16;
}

// Row by row, by way of fp32.
void convert_rows(const Tensor& x, DType target, int64_t row_bytes, std::byte* rows,
                  ThreadPool& threads) {
  const ConvertRowFn to_fp32 = select_convert(x.dtype(), DType::kF32);
  const ConvertRowFn narrow = target == DType::kF16 || target == DType::kBf16
                                  ? select_convert(DType::kF32, target)
                                  : nullptr;
  const int64_t k = x.size(-1);
  threads.parallel_for(x.num_rows(), [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(k));
    for (int64_t n = begin; n < end; ++n) {
      to_fp32(x.raw_row(n), k, row.data());
      if (narrow != nullptr) {
        narrow(row.data(), k, rows + n * row_bytes);
      } else if (target == DType::kQ4K) {
        quantize_q4k(row.data(), k, rows + n * row_bytes);
      } else {
        std::memcpy(rows + n * row_bytes, row.data(), static_cast<size_t>(row_bytes));
      }
    }
  });
}

}  // namespace

DType stored_dtype(DType packing) {
  switch (packing) {
    case DType::kI8:
      return DType::kQ8_0;
    case DType::kI4:
      return DType::kQ4_0;
    case DType::kI4Asym:
      return DType::kQ4_1;
    default:
      return packing;
  }
}

std::optional<int64_t> stored_row_bytes(DType packing, int64_t k) {
  if (packing == DType::kW8A8) return k + kScaleBytes;
  const DTypeInfo& info = dtype_info(stored_dtype(packing));
  if (k % info.block_elements != 0) return std::nullopt;
  return dtype_bytes(info.dtype, k);
}

Tensor stored_tensor(std::byte* rows, DType packing, int64_t n, int64_t k) {
  const int64_t stride = packing == DType::kW8A8 ? k + kScaleBytes : k;
  return Tensor(rows, stored_dtype(packing), Shape{n, k}, stride);
}

void quantize_rows(const Tensor& x, DType packing, std::byte* rows, ThreadPool& threads) {
  const int64_t k = x.size(-1);
  const std::optional<int64_t> row_bytes = stored_row_bytes(packing, k);
  check_argument(row_bytes.has_value(), "[gemm] rows of {} values are no whole number of {} blocks",
                 k, packing);
  if (x.dtype() == stored_dtype(packing)) {
    for (int64_t n = 0; n < x.num_rows(); ++n) {
      std::memcpy(rows + n * *row_bytes, x.raw_row(n), static_cast<size_t>(*row_bytes));
    }
    return;
  }
  if (is_plain(packing) || packing == DType::kQ4K)
    return convert_rows(x, packing, *row_bytes, rows, threads);
  Tensor matrix(x.raw(), x.dtype(), Shape{x.num_rows(), k}, x.row_stride());
  Buffer unpacked;
  if (packed_dtype(x.dtype(), packing) != packing) {  // blocks that would be packed as they are
    unpacked = Buffer(static_cast<size_t>(x.num_rows() * k) * sizeof(float));
    convert_rows(x, DType::kF32, k * static_cast<int64_t>(sizeof(float)), unpacked.data(), threads);
    matrix = Tensor(unpacked.data(), DType::kF32, Shape{x.num_rows(), k});
  }
  store_rows(PackedWeight::pack({&matrix, 1}, {.dtype = packing}, threads), *row_bytes, rows,
             threads);
}

}  // namespace lanner
