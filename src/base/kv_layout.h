// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/checked.h"
#include "base/dtype.h"

namespace lanner {

// Where the K and V of a token lie within a KV cache block of one layer. The cache allocates by it,
// kernels read and write by it.
//
//   block   [kv_heads] of { K panels, V panels }, so that a thread with one KV head reads on
//   K       [block_size / 16] panels of [head_dim / pack][16 tokens][pack]: sixteen tokens side by
//           side, the order of a GEMM's packed weights, so that a dot product needs no sum across
//           lanes. pack = 4 bytes' worth of elements for the pairwise types (bf16: 2, int8: 4), 1
//           for fp32 and fp16.
//   V       [block_size / 16] panels of [16 tokens][v_head_dim]
//
// int8 is symmetric with one fp32 scale per token and KV head for K and for V, x = scale * q with
// q in -127 … 127. The sixteen scales of a panel follow its elements: whoever moves a block moves
// its scales. K is stored as q + 128 (unsigned, as the byte dot product of x86 wants one side) and
// its head_dim filled up to a multiple of four; V's panels are [16 / 4][v_head_dim][4 tokens], so
// that a dot product runs over tokens.
//
// head_dim is even; K and V may differ in width.
struct KvLayout {
  static constexpr int kPanelTokens = 16;
  // Kernels have room for a head of int8 on their stack.
  static constexpr int kMaxInt8HeadDim = 1024;

  DType dtype = DType::kF16;
  int block_size = 32;  // tokens in a block, a multiple of kPanelTokens
  int kv_heads = 0;
  int head_dim = 0;    // of K; even
  int v_head_dim = 0;  // of V
  // K is stored rotated (kernels/hadamard.h) and so must be the queries: int8 only.
  bool rotated = false;

  bool is_int8() const { return dtype == DType::kI8; }
  int pack() const { return is_int8() ? 4 : dtype == DType::kBf16 ? 2 : 1; }
  int element_bytes() const { return dtype_info(dtype).block_bytes; }
  int64_t scale_bytes() const { return is_int8() ? kPanelTokens * int64_t{sizeof(float)} : 0; }
  // Where the scales of a K panel begin.
  int64_t k_scale_offset() const {
    return kPanelTokens * round_up(head_dim, pack()) * element_bytes();
  }
  int64_t v_scale_offset() const { return int64_t{kPanelTokens} * v_head_dim * element_bytes(); }
  int64_t k_panel_bytes() const { return k_scale_offset() + scale_bytes(); }
  int64_t v_panel_bytes() const { return v_scale_offset() + scale_bytes(); }
  int64_t k_bytes() const { return block_size / kPanelTokens * k_panel_bytes(); }
  int64_t v_bytes() const { return block_size / kPanelTokens * v_panel_bytes(); }
  // Bytes of one KV head's K and V, a multiple of 64.
  int64_t head_bytes() const { return round_up(k_bytes() + v_bytes(), 64); }
  // Bytes of a block of one layer.
  int64_t block_bytes() const { return head_bytes() * kv_heads; }

  int64_t k_offset(int kv_head) const { return kv_head * head_bytes(); }
  int64_t v_offset(int kv_head) const { return kv_head * head_bytes() + k_bytes(); }
  // Offset in elements of K's element d of the token at `offset` in the block, from k_offset.
  int64_t k_element(int offset, int d) const {
    const int64_t panel = offset / kPanelTokens;
    return panel * (k_panel_bytes() / element_bytes()) +
           int64_t{d / pack()} * kPanelTokens * pack() + int64_t{offset % kPanelTokens} * pack() +
           d % pack();
  }
  // The same of V, from v_offset.
  int64_t v_element(int offset, int d) const {
    const int64_t panel = offset / kPanelTokens;
    const int64_t begin = panel * (v_panel_bytes() / element_bytes());
    const int64_t in_panel = offset % kPanelTokens;
    if (!is_int8()) return begin + in_panel * v_head_dim + d;
    return begin + (in_panel / 4 * v_head_dim + d) * 4 + in_panel % 4;
  }
  // Offsets in bytes of the scales of a token, from k_offset and v_offset.
  int64_t k_scale(int offset) const {
    return offset / kPanelTokens * k_panel_bytes() + k_scale_offset() +
           offset % kPanelTokens * int64_t{sizeof(float)};
  }
  int64_t v_scale(int offset) const {
    return offset / kPanelTokens * v_panel_bytes() + v_scale_offset() +
           offset % kPanelTokens * int64_t{sizeof(float)};
  }
};

// The KV cache of one layer as kernels see it: block b starts at data + b * layout.block_bytes().
struct KvCacheView {
  KvLayout layout;
  std::byte* data = nullptr;
  int64_t num_blocks = 0;
};

}  // namespace lanner
