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
//   block   [kv_heads] of { K panels, V rows }, so that a thread with one KV head reads on
//   K       [block_size / 16] panels of [head_dim / pack][16 tokens][pack]: sixteen tokens side by
//           side, the order of a GEMM's packed weights, so that a dot product needs no sum across
//           lanes. pack = 4 bytes' worth of elements for the pairwise types (bf16: 2), 1 for fp32
//           and fp16.
//   V       [block_size][head_dim]
//
// head_dim is even; K and V may differ in width.
struct KvLayout {
  static constexpr int kPanelTokens = 16;

  DType dtype = DType::kF16;
  int block_size = 32;  // tokens in a block, a multiple of kPanelTokens
  int kv_heads = 0;
  int head_dim = 0;    // of K; even
  int v_head_dim = 0;  // of V

  int pack() const { return dtype == DType::kBf16 ? 2 : 1; }
  int element_bytes() const { return dtype_info(dtype).block_bytes; }
  int64_t k_bytes() const { return int64_t{block_size} * head_dim * element_bytes(); }
  int64_t v_bytes() const { return int64_t{block_size} * v_head_dim * element_bytes(); }
  // Bytes of one KV head's K and V, a multiple of 64.
  int64_t head_bytes() const { return round_up(k_bytes() + v_bytes(), 64); }
  // Bytes of a block of one layer.
  int64_t block_bytes() const { return head_bytes() * kv_heads; }

  int64_t k_offset(int kv_head) const { return kv_head * head_bytes(); }
  int64_t v_offset(int kv_head) const { return kv_head * head_bytes() + k_bytes(); }
  // Offset in elements of K's element d of the token at `offset` in the block, from k_offset.
  int64_t k_element(int offset, int d) const {
    const int64_t panel = offset / kPanelTokens;
    return panel * kPanelTokens * head_dim + int64_t{d / pack()} * kPanelTokens * pack() +
           int64_t{offset % kPanelTokens} * pack() + d % pack();
  }
};

// The KV cache of one layer as kernels see it: block b starts at data + b * layout.block_bytes().
struct KvCacheView {
  KvLayout layout;
  std::byte* data = nullptr;
  int64_t num_blocks = 0;
};

}  // namespace lanner
