// SPDX-License-Identifier: Apache-2.0
#include "kernels/kv_store/kv_store.h"

#include "base/error.h"
#include "kernels/kv_store/kernels.h"

namespace lanner {
namespace {

// Elements below which a second thread costs more than it saves.
constexpr int64_t kMinElementsPerThread = 8192;

void check(const Tensor& x, const char* name, int64_t num_tokens, int kv_heads, int head_dim) {
  check_argument(x.dtype() == DType::kF32, "[kv_store] {} is {}, expected fp32", name, x.dtype());
  check_argument(x.shape() == Shape({num_tokens, int64_t{kv_heads} * head_dim}),
                 "[kv_store] {} is {}, expected [{}, {} heads * {}]", name, x.shape(), num_tokens,
                 kv_heads, head_dim);
}

}  // namespace

std::span<const KvStoreKernel* const> kv_store_kernels() {
  static constexpr const KvStoreKernel* kKernels[] = {
      &kKvStoreAvx512[0], &kKvStoreAvx512[1], &kKvStoreAvx512[2], &kKvStoreAvx512[3],
      &kKvStoreAvx2[0],   &kKvStoreAvx2[1],   &kKvStoreAvx2[2],   &kKvStoreAvx2[3],
      &kKvStoreScalar[0], &kKvStoreScalar[1], &kKvStoreScalar[2], &kKvStoreScalar[3],
  };
  return kKernels;
}

const KvStoreKernel& select_kv_store(DType dtype, Isa isa) {
  for (const KvStoreKernel* kernel : kv_store_kernels()) {
    if (kernel->dtype == dtype && isa.has(kernel->needs)) return *kernel;
  }
  throw_error(ErrorCode::kUnsupported, "[kv_store] a KV cache of {} is not supported", dtype);
}

void kv_store(const Tensor& k, const Tensor& v, std::span<const int64_t> slots,
              const KvCacheView& cache, ThreadPool& threads) {
  const KvLayout& layout = cache.layout;
  const KvStoreKernel& kernel = select_kv_store(layout.dtype);
  const auto num_tokens = static_cast<int64_t>(slots.size());
  check_argument(layout.block_size > 0 && layout.block_size % KvLayout::kPanelTokens == 0 &&
                     layout.head_dim % 2 == 0,
                 "[kv_store] blocks of {} tokens and heads of {} do not fit the layout",
                 layout.block_size, layout.head_dim);
  check_argument(!layout.is_int8() || layout.head_dim <= KvLayout::kMaxInt8HeadDim,
                 "[kv_store] int8 takes heads of up to {}, not {}", KvLayout::kMaxInt8HeadDim,
                 layout.head_dim);
  check(k, "k", num_tokens, layout.kv_heads, layout.head_dim);
  check(v, "v", num_tokens, layout.kv_heads, layout.v_head_dim);
  const int64_t num_slots = cache.num_blocks * layout.block_size;
  for (int64_t slot : slots) {
    check_argument(slot >= 0 && slot < num_slots, "[kv_store] slot {} is outside the cache of {}",
                   slot, num_slots);
  }

  const int64_t bytes_per_element = layout.element_bytes();
  threads.parallel_for(
      num_tokens * layout.kv_heads,
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t token = i / layout.kv_heads;
          const int head = static_cast<int>(i % layout.kv_heads);
          const int64_t slot = slots[static_cast<size_t>(token)];
          const int offset = static_cast<int>(slot % layout.block_size);
          std::byte* block = cache.data + slot / layout.block_size * layout.block_bytes();
          std::byte* keys = block + layout.k_offset(head);
          std::byte* values = block + layout.v_offset(head);
          float* k_scale = nullptr;
          float* v_scale = nullptr;
          if (layout.is_int8()) {
            k_scale = reinterpret_cast<float*>(keys + layout.k_scale(offset));
            v_scale = reinterpret_cast<float*>(values + layout.v_scale(offset));
          }
          kernel.key(k.row<float>(token) + int64_t{head} * layout.head_dim, layout.head_dim,
                     layout.rotated, keys + layout.k_element(offset, 0) * bytes_per_element,
                     k_scale);
          kernel.value(v.row<float>(token) + int64_t{head} * layout.v_head_dim, layout.v_head_dim,
                       values + layout.v_element(offset, 0) * bytes_per_element, v_scale);
        }
      },
      ceil_div(kMinElementsPerThread, layout.head_dim + layout.v_head_dim));
}

}  // namespace lanner
