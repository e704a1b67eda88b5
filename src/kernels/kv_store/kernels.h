// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include "base/dtype.h"
#include "base/isa.h"

namespace lanner {

// One token's K of one head (KvLayout): k[head_dim] as one of the sixteen tokens of a panel, `lane`
// being where its first element goes. int8 alone uses the rest: its head_dim is at most
// KvLayout::kMaxInt8HeadDim, k is rotated first if `rotated`, and *scale is the token's.
using StoreKeyFn = void (*)(const float* k, int head_dim, bool rotated, std::byte* lane,
                            float* scale);
// One token's V of one head, `row` being where its first element goes. Elements are side by side,
// in int8 four bytes apart.
using StoreValueFn = void (*)(const float* v, int head_dim, std::byte* row, float* scale);

struct KvStoreKernel {
  const char* name;
  DType dtype;  // of the cache
  Isa needs;
  StoreKeyFn key;
  StoreValueFn value;
};

// By type: fp32, fp16, bf16, int8.
extern const KvStoreKernel kKvStoreAvx512[4];
extern const KvStoreKernel kKvStoreAvx2[4];
extern const KvStoreKernel kKvStoreScalar[4];

// Best first; the last ones run everywhere.
std::span<const KvStoreKernel* const> kv_store_kernels();

// Throws Error(kUnsupported) naming the type.
const KvStoreKernel& select_kv_store(DType dtype, Isa isa = cpu_isa());

}  // namespace lanner
