// SPDX-License-Identifier: Apache-2.0
#include "base/kv_layout.h"
#include "kernels/hadamard_avx512.h"
#include "kernels/int8_scale.h"
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
void store_value(const float* v, int head_dim, std::byte* row, float*) {
  auto* to = reinterpret_cast<uint16_t*>(row);
  for (int d = 0; d < head_dim; d += 16) {
    const int left = head_dim - d;
    _mm256_mask_storeu_epi16(to + d, tail_mask_avx512(left), Convert(load_avx512(v + d, left)));
  }
}

void store_value_fp32(const float* v, int head_dim, std::byte* row, float*) {
  auto* to = reinterpret_cast<float*>(row);
  for (int d = 0; d < head_dim; d += 16) {
    store_avx512(to + d, head_dim - d, load_avx512(v + d, head_dim - d));
  }
}

// Converted sixteen at a time, then written one by one: a panel's elements of a token lie a cache
// line apart or half of one, and the panel stays in L1 while its sixteen tokens come by.
template <typename Unit, __m256i (*Convert)(__m512)>
void store_key(const float* k, int head_dim, bool, std::byte* lane, float*) {
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

void store_key_fp32(const float* k, int head_dim, bool, std::byte* lane, float*) {
  auto* to = reinterpret_cast<float*>(lane);
  for (int d = 0; d < head_dim; ++d, to += kPanelTokens) *to = k[d];
}

Int8Scale scale_of(const float* x, int n) {
  __m512i largest = _mm512_setzero_si512();
  for (int d = 0; d < n; d += 16) {
    const __m512 magnitude = _mm512_abs_ps(load_avx512(x + d, n - d));
    largest = _mm512_max_epi32(largest, _mm512_castps_si512(magnitude));
  }
  return int8_scale(_mm512_reduce_max_epi32(largest));
}

// Sixteen of the `left` elements from x on as int32, zeros after them.
__m512i quantised(const float* x, int left, const Int8Scale& scale) {
  if (scale.inverse == 0.0f) return _mm512_setzero_si512();
  return _mm512_cvtps_epi32(_mm512_mul_ps(load_avx512(x, left), _mm512_set1_ps(scale.inverse)));
}

void store_key_int8(const float* k, int head_dim, bool rotated, std::byte* lane, float* scale) {
  alignas(64) float x[KvLayout::kMaxInt8HeadDim];
  for (int d = 0; d < head_dim; d += 16) {
    store_avx512(x + d, head_dim - d, load_avx512(k + d, head_dim - d));
  }
  if (rotated) hadamard_avx512(x, head_dim);
  const Int8Scale by = scale_of(x, head_dim);
  *scale = by.scale;
  alignas(16) uint32_t units[4];
  auto* to = reinterpret_cast<uint32_t*>(lane);
  for (int d = 0; d < head_dim; d += 16) {
    const int left = head_dim - d;
    const __m512i q = _mm512_add_epi32(quantised(x + d, left, by), _mm512_set1_epi32(128));
    _mm_store_si128(reinterpret_cast<__m128i*>(units), _mm512_cvtepi32_epi8(q));
    const int count = left >= 16 ? 4 : (left + 3) / 4;
    for (int i = 0; i < count; ++i, to += kPanelTokens) *to = units[i];
  }
}

void store_value_int8(const float* v, int head_dim, std::byte* row, float* scale) {
  const Int8Scale by = scale_of(v, head_dim);
  *scale = by.scale;
  alignas(16) std::byte bytes[16];
  for (int d = 0; d < head_dim; d += 16) {
    const int left = head_dim - d;
    _mm_store_si128(reinterpret_cast<__m128i*>(bytes),
                    _mm512_cvtepi32_epi8(quantised(v + d, left, by)));
    const int count = left < 16 ? left : 16;
    for (int i = 0; i < count; ++i) row[(d + i) * 4] = bytes[i];
  }
}

}  // namespace

const KvStoreKernel kKvStoreAvx512[4] = {
    {"avx512", DType::kF32, Isa{Isa::kAvx512}, store_key_fp32, store_value_fp32},
    {"avx512", DType::kF16, Isa{Isa::kAvx512}, store_key<uint16_t, to_fp16>, store_value<to_fp16>},
    {"avx512", DType::kBf16, Isa{Isa::kAvx512}, store_key<uint32_t, to_bf16>, store_value<to_bf16>},
    {"avx512", DType::kI8, Isa{Isa::kAvx512}, store_key_int8, store_value_int8},
};

}  // namespace lanner
