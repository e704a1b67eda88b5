// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "base/kv_layout.h"
#include "base/tensor.h"
#include "base/thread_pool.h"

namespace lanner {

// Writes the K and V of new tokens into the cache, in the cache's type and layout; an int8 cache
// that is `rotated` gets K rotated (kernels/hadamard.h).
//
//   k      [num_tokens, kv_heads * head_dim]    fp32, any row stride
//   v      [num_tokens, kv_heads * v_head_dim]  fp32, any row stride
//   slots  [num_tokens]  block * block_size + offset in the block, each at most once
//
// Throws Error(kInvalidArgument) when shapes do not match or a slot is outside the cache.
void kv_store(const Tensor& k, const Tensor& v, std::span<const int64_t> slots,
              const KvCacheView& cache, ThreadPool& threads);

}  // namespace lanner
