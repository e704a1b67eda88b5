// SPDX-License-Identifier: Apache-2.0
#include "base/kv_layout.h"
#include "kernels/kv_store/kernels.h"
#include "kernels/vector_math_avx2.h"

namespace lanner {
namespace {

constexpr int kPanelTokens = KvLayout::kPanelTokens;

__m128i to_fp16(__m256 x) {
  return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
__m128i to_bf16(__m256 x) { return fp32_to_bf16_avx2(x); }

template <__m128i (*Convert)(__m256)>
void store_value(const float* v, int head_dim, std::byte* row) {
  auto* to = reinterpret_cast<uint16_t*>(row);
  int d = 0;
  for (; d + 8 <= head_dim; d += 8) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + d), Convert(_mm256_loadu_ps(v + d)));
  }
  if (d < head_dim) {
    alignas(16) uint16_t converted[8];
    _mm_store_si128(reinterpret_cast<__m128i*>(converted), Convert(load_avx2(v + d, head_dim - d)));
    for (int i = 0; d < head_dim; ++i, ++d) to[d] = converted[i];
  }
}

void store_value_fp32(const float* v, int head_dim, std::byte* row) {
  auto* to = reinterpret_cast<float*>(row);
  for (int d = 0; d < head_dim; d += 8) {
    store_avx2(to + d, head_dim - d, load_avx2(v + d, head_dim - d));
  }
}

// Converted eight at a time, then written one by one: a panel's elements of a token lie a cache
// line apart or half of one, and the panel stays in L1 while its sixteen tokens come by.
template <typename Unit, __m128i (*Convert)(__m256)>
void store_key(const float* k, int head_dim, std::byte* lane) {
  constexpr int kPack = static_cast<int>(sizeof(Unit) / sizeof(uint16_t));
  alignas(16) Unit converted[8 / kPack];
  auto* to = reinterpret_cast<Unit*>(lane);
  for (int d = 0; d < head_dim; d += 8) {
    const int left = head_dim - d;
    _mm_store_si128(reinterpret_cast<__m128i*>(converted), Convert(load_avx2(k + d, left)));
    const int units = (left < 8 ? left : 8) / kPack;
    for (int i = 0; i < units; ++i, to += kPanelTokens) *to = converted[i];
  }
}

void store_key_fp32(const float* k, int head_dim, std::byte* lane) {
  auto* to = reinterpret_cast<float*>(lane);
  for (int d = 0; d < head_dim; ++d, to += kPanelTokens) *to = k[d];
}

}  // namespace

const KvStoreKernel kKvStoreAvx2[3] = {
    {"avx2", DType::kF32, Isa{Isa::kAvx2}, store_key_fp32, store_value_fp32},
    {"avx2", DType::kF16, Isa{Isa::kAvx2}, store_key<uint16_t, to_fp16>, store_value<to_fp16>},
    {"avx2", DType::kBf16, Isa{Isa::kAvx2}, store_key<uint32_t, to_bf16>, store_value<to_bf16>},
};

}  // namespace lanner
