// SPDX-License-Identifier: Apache-2.0
#include "base/kv_layout.h"
#include "kernels/kv_store/kernels.h"
#include "kernels/vector_math_avx512.h"

namespace lanner {
namespace {

constexpr int kPanelTokens = KvLayout::kPanelTokens;

__m256i to_fp16(__m512 x) {
  return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
__m256i to_bf16(__m512 x) { return fp32_to_bf16_avx512(x); }

template <__m256i (*Convert)(__m512)>
void store_value(const float* v, int head_dim, std::byte* row) {
  auto* to = reinterpret_cast<uint16_t*>(row);
  for (int d = 0; d < head_dim; d += 16) {
    const int left = head_dim - d;
    _mm256_mask_storeu_epi16(to + d, tail_mask_avx512(left), Convert(load_avx512(v + d, left)));
  }
}

void store_value_fp32(const float* v, int head_dim, std::byte* row) {
  auto* to = reinterpret_cast<float*>(row);
  for (int d = 0; d < head_dim; d += 16) {
    store_avx512(to + d, head_dim - d, load_avx512(v + d, head_dim - d));
  }
}

// Converted sixteen at a time, then written one by one: a panel's elements of a token lie a cache
// line apart or half of one, and the panel stays in L1 while its sixteen tokens come by.
template <typename Unit, __m256i (*Convert)(__m512)>
void store_key(const float* k, int head_dim, std::byte* lane) {
  constexpr int kPack = static_cast<int>(sizeof(Unit) / sizeof(uint16_t));
  alignas(32) Unit converted[16 / kPack];
  auto* to = reinterpret_cast<Unit*>(lane);
  for (int d = 0; d < head_dim; d += 16) {
    const int left = head_dim - d;
    _mm256_store_si256(reinterpret_cast<__m256i*>(converted), Convert(load_avx512(k + d, left)));
    const int units = (left < 16 ? left : 16) / kPack;
    for (int i = 0; i < units; ++i, to += kPanelTokens) *to = converted[i];
  }
}

void store_key_fp32(const float* k, int head_dim, std::byte* lane) {
  auto* to = reinterpret_cast<float*>(lane);
  for (int d = 0; d < head_dim; ++d, to += kPanelTokens) *to = k[d];
}

}  // namespace

const KvStoreKernel kKvStoreAvx512[3] = {
    {"avx512", DType::kF32, Isa{Isa::kAvx512}, store_key_fp32, store_value_fp32},
    {"avx512", DType::kF16, Isa{Isa::kAvx512}, store_key<uint16_t, to_fp16>, store_value<to_fp16>},
    {"avx512", DType::kBf16, Isa{Isa::kAvx512}, store_key<uint32_t, to_bf16>, store_value<to_bf16>},
};

}  // namespace lanner
