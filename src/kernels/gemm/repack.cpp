// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/repack.h"

#include <cstring>

#include "base/checked.h"
#include "base/float16.h"
#include "kernels/convert/blocks.h"

namespace lanner {
namespace {

// A source block taken apart: value = scale * (q - zero_point) + min, where scale is d or d *
// scales of the group, and min is dmin or dmin * minima.
struct SourceBlock {
  uint8_t q[256];
  uint16_t d = 0;  // fp16
  uint16_t dmin = 0;
  int8_t scales[16] = {};
  int8_t minima[16] = {};
};

uint16_t negated_half(const uint8_t* bytes) {
  return static_cast<uint16_t>(block_half(bytes) ^ 0x8000u);
}

void low_and_high_nibbles(const uint8_t* qs, uint8_t* q) {
  for (int i = 0; i < 16; ++i) {
    q[i] = qs[i] & 15;
    q[i + 16] = qs[i] >> 4;
  }
}

void add_fifth_bit(const uint8_t* qh, uint8_t* q) {
  for (int i = 0; i < 32; ++i) q[i] = static_cast<uint8_t>(q[i] | (qh[i / 8] >> (i % 8) & 1) << 4);
}

void two_bits(const uint8_t* qs, uint8_t* q) {
  for (int half = 0; half < 2; ++half) {
    for (int j = 0; j < 4; ++j) {
      for (int i = 0; i < 32; ++i) {
        q[half * 128 + j * 32 + i] = static_cast<uint8_t>((qs[half * 32 + i] >> (2 * j)) & 3);
      }
    }
  }
}

// Adds bit g of bits[i] to element g * 32 + i, as bit `position`.
void add_bits(const uint8_t* bits, int position, uint8_t* q) {
  for (int g = 0; g < 8; ++g) {
    for (int i = 0; i < 32; ++i) {
      q[g * 32 + i] = static_cast<uint8_t>(q[g * 32 + i] | ((bits[i] >> g) & 1) << position);
    }
  }
}

void k_nibbles(const uint8_t* qs, uint8_t* q) {
  for (int j = 0; j < 4; ++j) {
    for (int i = 0; i < 32; ++i) {
      q[j * 64 + i] = qs[j * 32 + i] & 15;
      q[j * 64 + 32 + i] = qs[j * 32 + i] >> 4;
    }
  }
}

void take_apart(const BlockQ4_0& block, SourceBlock& out) {
  out.d = block_half(block.d);
  low_and_high_nibbles(block.qs, out.q);
}

void take_apart(const BlockQ4_1& block, SourceBlock& out) {
  out.d = block_half(block.d);
  out.dmin = block_half(block.m);
  low_and_high_nibbles(block.qs, out.q);
}

void take_apart(const BlockQ5_0& block, SourceBlock& out) {
  out.d = block_half(block.d);
  low_and_high_nibbles(block.qs, out.q);
  add_fifth_bit(block.qh, out.q);
  // The layout's zero point is 128, q5_0's is 16.
  for (int i = 0; i < 32; ++i) out.q[i] = static_cast<uint8_t>(out.q[i] + 112);
}

void take_apart(const BlockQ5_1& block, SourceBlock& out) {
  out.d = block_half(block.d);
  out.dmin = block_half(block.m);
  low_and_high_nibbles(block.qs, out.q);
  add_fifth_bit(block.qh, out.q);
}

void take_apart(const BlockQ8_0& block, SourceBlock& out) {
  out.d = block_half(block.d);
  for (int i = 0; i < 32; ++i) out.q[i] = block.qs[i] ^ 0x80;  // + 128
}

template <int kElements>
void take_apart(const BlockI4<kElements>& block, SourceBlock& out) {
  constexpr int kHalf = kElements / 2;
  out.d = block_half(block.d);
  for (int i = 0; i < kHalf; ++i) {
    out.q[i] = block.qs[i] & 15;
    out.q[i + kHalf] = block.qs[i] >> 4;
  }
}

void take_apart(const BlockQ2K& block, SourceBlock& out) {
  out.d = block_half(block.d);
  out.dmin = negated_half(block.dmin);
  for (int g = 0; g < 16; ++g) {
    out.scales[g] = static_cast<int8_t>(block.scales[g] & 15);
    out.minima[g] = static_cast<int8_t>(block.scales[g] >> 4);
  }
  two_bits(block.qs, out.q);
}

void take_apart(const BlockQ3K& block, SourceBlock& out) {
  out.d = block_half(block.d);
  for (int g = 0; g < 16; ++g) out.scales[g] = static_cast<int8_t>(q3k_scale(block.scales, g));
  two_bits(block.qs, out.q);
  add_bits(block.hmask, 2, out.q);
}

template <typename Block>
void take_apart_q4k_scales(const Block& block, SourceBlock& out) {
  out.d = block_half(block.d);
  out.dmin = negated_half(block.dmin);
  for (int g = 0; g < 8; ++g) {
    out.scales[g] = static_cast<int8_t>(q4k_scale(block.scales, g));
    out.minima[g] = static_cast<int8_t>(q4k_min(block.scales, g));
  }
}

void take_apart(const BlockQ4K& block, SourceBlock& out) {
  take_apart_q4k_scales(block, out);
  k_nibbles(block.qs, out.q);
}

void take_apart(const BlockQ5K& block, SourceBlock& out) {
  take_apart_q4k_scales(block, out);
  k_nibbles(block.qs, out.q);
  add_bits(block.qh, 4, out.q);
}

void take_apart(const BlockQ6K& block, SourceBlock& out) {
  out.d = block_half(block.d);
  for (int g = 0; g < 16; ++g) out.scales[g] = static_cast<int8_t>(block.scales[g]);
  uint8_t high[256];
  two_bits(block.qh, high);
  for (int half = 0; half < 2; ++half) {
    uint8_t* q = out.q + half * 128;
    const uint8_t* ql = block.ql + half * 64;
    for (int i = 0; i < 64; ++i) {
      q[i] = static_cast<uint8_t>((ql[i] & 15) | high[half * 128 + i] << 4);
      q[i + 64] = static_cast<uint8_t>((ql[i] >> 4) | high[half * 128 + 64 + i] << 4);
    }
  }
}

template <int kBits>
void store_values(const uint8_t* q, int count, int k_in_block, int row, uint8_t* values) {
  for (int i = 0; i < count; i += 8) {
    const int k = k_in_block + i;
    if (kBits == 8) {
      std::memcpy(values + k / 4 * 64 + row * 4, q + i, 4);
      std::memcpy(values + (k / 4 + 1) * 64 + row * 4, q + i + 4, 4);
    } else {
      uint32_t low, high;
      std::memcpy(&low, q + i, 4);
      std::memcpy(&high, q + i + 4, 4);
      low |= high << 4;
      std::memcpy(values + k / 8 * 64 + row * 4, &low, 4);
    }
  }
}

template <GemmGroup kGroup>
void store_block(const SourceBlock& source, int count, int64_t k, int row, std::byte* panel) {
  constexpr GemmLayout kLayout = gemm_layout(kGroup);
  const int k_in_block = static_cast<int>(k % kLayout.k_block);
  std::byte* block = panel + k / kLayout.k_block * kLayout.block_bytes;
  if constexpr (kLayout.two_level) {
    std::memcpy(block + row * 2, &source.d, 2);
    std::memcpy(block + 32 + row * 2, &source.dmin, 2);
    for (int g = 0; g < 256 / kLayout.group; ++g) {
      std::memcpy(block + kLayout.scale_offset + g * kPanelRows + row, source.scales + g, 1);
      if (kLayout.has_min) {
        std::memcpy(block + kLayout.min_offset + g * kPanelRows + row, source.minima + g, 1);
      }
    }
  } else {
    const int index = k_in_block / kLayout.scale_group * kPanelRows + row;
    std::memcpy(block + kLayout.scale_offset + index * 2, &source.d, 2);
    if (kLayout.has_min) std::memcpy(block + kLayout.min_offset + index * 2, &source.dmin, 2);
  }
  store_values<kLayout.bits>(source.q, count, k_in_block, row,
                             reinterpret_cast<uint8_t*>(block + kLayout.q_offset));
}

template <GemmGroup kGroup, typename Block>
void repack_row(const std::byte* blocks, int64_t k, int row, std::byte* panel) {
  constexpr int kElements = gemm_layout(kGroup).two_level ? 256 : gemm_layout(kGroup).scale_group;
  SourceBlock source;
  for (int64_t i = 0; i < k / kElements; ++i) {
    take_apart(reinterpret_cast<const Block*>(blocks)[i], source);
    store_block<kGroup>(source, kElements, i * kElements, row, panel);
  }
}

}  // namespace

GemmGroup block_group(DType dtype) {
  switch (dtype) {
    case DType::kI4G64:
      return GemmGroup::kI4G64;
    case DType::kI4G128:
      return GemmGroup::kI4G128;
    case DType::kQ4_0:
      return GemmGroup::kI4G32;
    case DType::kQ4_1:
      return GemmGroup::kI4G32M;
    case DType::kQ5_0:
    case DType::kQ8_0:
      return GemmGroup::kI8G32;
    case DType::kQ5_1:
      return GemmGroup::kI8G32M;
    case DType::kQ2K:
      return GemmGroup::kI4G16MK;
    case DType::kQ3K:
      return GemmGroup::kI4G16K;
    case DType::kQ4K:
      return GemmGroup::kI4G32MK;
    case DType::kQ5K:
      return GemmGroup::kI8G32MK;
    case DType::kQ6K:
      return GemmGroup::kI8G16K;
    default:
      throw_error(ErrorCode::kUnsupported, "[gemm] {} is no block type", dtype);
  }
}

void repack_block_row(DType dtype, const std::byte* blocks, int64_t k, int row, std::byte* panel) {
  using enum GemmGroup;
  switch (dtype) {
    case DType::kI4G64:
      return repack_row<kI4G64, BlockI4<64>>(blocks, k, row, panel);
    case DType::kI4G128:
      return repack_row<kI4G128, BlockI4<128>>(blocks, k, row, panel);
    case DType::kQ4_0:
      return repack_row<kI4G32, BlockQ4_0>(blocks, k, row, panel);
    case DType::kQ4_1:
      return repack_row<kI4G32M, BlockQ4_1>(blocks, k, row, panel);
    case DType::kQ5_0:
      return repack_row<kI8G32, BlockQ5_0>(blocks, k, row, panel);
    case DType::kQ5_1:
      return repack_row<kI8G32M, BlockQ5_1>(blocks, k, row, panel);
    case DType::kQ8_0:
      return repack_row<kI8G32, BlockQ8_0>(blocks, k, row, panel);
    case DType::kQ2K:
      return repack_row<kI4G16MK, BlockQ2K>(blocks, k, row, panel);
    case DType::kQ3K:
      return repack_row<kI4G16K, BlockQ3K>(blocks, k, row, panel);
    case DType::kQ4K:
      return repack_row<kI4G32MK, BlockQ4K>(blocks, k, row, panel);
    case DType::kQ5K:
      return repack_row<kI8G32MK, BlockQ5K>(blocks, k, row, panel);
    case DType::kQ6K:
      return repack_row<kI8G16K, BlockQ6K>(blocks, k, row, panel);
    default:
      throw_error(ErrorCode::kUnsupported, "[gemm] {} is no block type", dtype);
  }
}

}  // namespace lanner
