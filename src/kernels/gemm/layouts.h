// SPDX-License-Identifier: Apache-2.0
// How packed weights lie in memory. Static constants only: ISA files include this.
//
// A weight [n, k] is cut into panels of 16 rows. A panel is one contiguous run of blocks, each
// block holding `k_block` values of all 16 rows, so that reading a panel is one sequential stream:
//
//   fp32         [k][16] fp32
//   fp16         [k][16] fp16
//   bf16         [k/2][16][2] bf16: what vdpbf16ps multiplies; widened by a shift and a mask
//   int8         [k/4][16][4] uint8, value + 128: what vpdpbusd multiplies; one fp32 scale per row,
//                kept apart
//   int<b>g<g>   blocks of 64 (128 if g is): scales [64/g][16] fp16, with `m` minima [64/g][16]
//                fp16, then the values. value = scale * (q - zero_point) (+ min)
//   int<b>g<g>k  blocks of 256: d [16] fp16, dmin [16] fp16, scales [256/g][16] int8, with `m`
//   minima
//                [256/g][16] int8, then the values. scale = d * scales, min = dmin * minima
//
// Values q are unsigned. 8 bits: [k/4][16][4]. 4 bits: [k/8][16][4], the low nibbles k..k+3 and the
// high ones k+4..k+7. Every part is a multiple of 64 bytes, so that no load crosses a cache line.
//
// For many rows some kernels read quantised groups unpacked, in blocks of 64: scales [64/g][16]
// fp32, with `m` minima [64/g][16] fp32, then the values as 8 bits; g is 32 where it is more.
#pragma once

#include <cstdint>

namespace lanner {

enum class GemmGroup : uint8_t {
  kF32,
  kF16,
  kBf16,
  kI8,       // w8a8
  kI4G32,    // q4_0, int4
  kI4G64,    // int4g64
  kI4G128,   // int4g128
  kI4G32M,   // q4_1, int4_asym
  kI8G32,    // q8_0, q5_0, int8
  kI8G32M,   // q5_1
  kI4G32MK,  // q4_k
  kI8G32MK,  // q5_k
  kI8G16K,   // q6_k
  kI4G16MK,  // q2_k
  kI4G16K,   // q3_k
};

struct GemmLayout {
  const char* name;
  int bits;         // of a quantised group's value, else 0
  int group;        // values that are summed as integers, and so share a scale; 0: none
  int scale_group;  // values that share a scale: one or more groups
  bool two_level;   // scales are int8 times fp16
  bool has_min;
  int zero_point;
  int k_block;       // values of a row in one block; k is padded to a multiple
  int scale_offset;  // bytes from the start of a block
  int min_offset;
  int q_offset;
  int block_bytes;  // of 16 rows
};

static constexpr int kPanelRows = 16;
static constexpr int kUnpackedBlock = 64;

static constexpr GemmLayout plain_layout(const char* name, int k_block, int block_bytes,
                                         int zero_point = 0) {
  return {name, 0, 0, 0, false, false, zero_point, k_block, 0, 0, 0, block_bytes};
}

static constexpr GemmLayout grouped_layout(const char* name, int bits, int scale_group,
                                           bool two_level, bool has_min, int zero_point) {
  // Activations have a scale for every 32 values.
  const int group = scale_group < 32 ? scale_group : 32;
  const int k_block = two_level ? 256 : scale_group > 64 ? scale_group : 64;
  const int scale_offset = two_level ? 64 : 0;
  const int scale_bytes = k_block / scale_group * kPanelRows * (two_level ? 1 : 2);
  const int min_offset = scale_offset + scale_bytes;
  const int q_offset = min_offset + (has_min ? scale_bytes : 0);
  return {name,         bits,       group,      scale_group,
          two_level,    has_min,    zero_point, k_block,
          scale_offset, min_offset, q_offset,   q_offset + k_block * kPanelRows * bits / 8};
}

static constexpr GemmLayout gemm_layout(GemmGroup group) {
  switch (group) {
    case GemmGroup::kF32:
      return plain_layout("fp32", 1, 64);
    case GemmGroup::kF16:
      return plain_layout("fp16", 1, 32);
    case GemmGroup::kBf16:
      return plain_layout("bf16", 2, 64);
    case GemmGroup::kI8:
      return plain_layout("int8", 64, 1024, 128);
    case GemmGroup::kI4G32:
      return grouped_layout("int4g32", 4, 32, false, false, 8);
    case GemmGroup::kI4G64:
      return grouped_layout("int4g64", 4, 64, false, false, 8);
    case GemmGroup::kI4G128:
      return grouped_layout("int4g128", 4, 128, false, false, 8);
    case GemmGroup::kI4G32M:
      return grouped_layout("int4g32m", 4, 32, false, true, 0);
    case GemmGroup::kI8G32:
      return grouped_layout("int8g32", 8, 32, false, false, 128);
    case GemmGroup::kI8G32M:
      return grouped_layout("int8g32m", 8, 32, false, true, 0);
    case GemmGroup::kI4G32MK:
      return grouped_layout("int4g32mk", 4, 32, true, true, 0);
    case GemmGroup::kI8G32MK:
      return grouped_layout("int8g32mk", 8, 32, true, true, 0);
    case GemmGroup::kI8G16K:
      return grouped_layout("int8g16k", 8, 16, true, false, 32);
    case GemmGroup::kI4G16MK:
      return grouped_layout("int4g16mk", 4, 16, true, true, 0);
    case GemmGroup::kI4G16K:
      return grouped_layout("int4g16k", 4, 16, true, false, 4);
  }
  return plain_layout("", 1, 0);
}

// Bytes of kUnpackedBlock values of 16 rows, unpacked.
static constexpr int unpacked_min_offset(int group) {
  return kUnpackedBlock / group * kPanelRows * 4;
}
static constexpr int unpacked_q_offset(int group, bool has_min) {
  return unpacked_min_offset(group) * (has_min ? 2 : 1);
}
static constexpr int unpacked_block_bytes(int group, bool has_min) {
  return unpacked_q_offset(group, has_min) + kUnpackedBlock * kPanelRows;
}

}  // namespace lanner
