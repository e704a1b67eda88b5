// SPDX-License-Identifier: Apache-2.0
#include "base/kv_layout.h"
#include "kernels/hadamard_avx2.h"
#include "kernels/int8_scale.h"
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
void store_value(const float* v, int head_dim, std::byte* row, float*) {
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

void store_value_fp32(const float* v, int head_dim, std::byte* row, float*) {
  auto* to = reinterpret_cast<float*>(row);
  for (int d = 0; d < head_dim; d += 8) {
    store_avx2(to + d, head_dim - d, load_avx2(v + d, head_dim - d));
  }
}

// Converted eight at a time, then written one by one: a panel's elements of a token lie a cache
// line apart or half of one, and the panel stays in L1 while its sixteen tokens come by.
template <typename Unit, __m128i (*Convert)(__m256)>
void store_key(const float* k, int head_dim, bool, std::byte* lane, float*) {
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

void store_key_fp32(const float* k, int head_dim, bool, std::byte* lane, float*) {
  auto* to = reinterpret_cast<float*>(lane);
  for (int d = 0; d < head_dim; ++d, to += kPanelTokens) *to = k[d];
}

Int8Scale scale_of(const float* x, int n) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  __m256i largest = _mm256_setzero_si256();
  for (int d = 0; d < n; d += 8) {
    const __m256i bits = _mm256_castps_si256(load_avx2(x + d, n - d));
    largest = _mm256_max_epi32(largest, _mm256_and_si256(bits, magnitude));
  }
  __m128i max =
      _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
  max = _mm_max_epi32(max, _mm_shuffle_epi32(max, 0x4e));
  max = _mm_max_epi32(max, _mm_shuffle_epi32(max, 0xb1));
  return int8_scale(_mm_cvtsi128_si32(max));
}

// Eight of the `left` elements from x on as int32, zeros after them.
__m256i quantised(const float* x, int left, const Int8Scale& scale) {
  if (scale.inverse == 0.0f) return _mm256_setzero_si256();
  return _mm256_cvtps_epi32(_mm256_mul_ps(load_avx2(x, left), _mm256_set1_ps(scale.inverse)));
}

void store_key_int8(const float* k, int head_dim, bool rotated, std::byte* lane, float* scale) {
  alignas(32) float x[KvLayout::kMaxInt8HeadDim];
  for (int d = 0; d < head_dim; d += 8) {
    store_avx2(x + d, head_dim - d, load_avx2(k + d, head_dim - d));
  }
  if (rotated) hadamard_avx2(x, head_dim);
  const Int8Scale by = scale_of(x, head_dim);
  *scale = by.scale;
  alignas(32) int32_t q[8];
  for (int d = 0; d < head_dim; d += 8) {
    const int left = head_dim - d;
    _mm256_store_si256(reinterpret_cast<__m256i*>(q), quantised(x + d, left, by));
    const int count = left >= 8 ? 8 : (left + 3) / 4 * 4;
    for (int i = 0; i < count; ++i) {
      lane[(d + i) / 4 * kPanelTokens * 4 + i % 4] = static_cast<std::byte>(q[i] + 128);
    }
  }
}

void store_value_int8(const float* v, int head_dim, std::byte* row, float* scale) {
  const Int8Scale by = scale_of(v, head_dim);
  *scale = by.scale;
  alignas(32) int32_t q[8];
  for (int d = 0; d < head_dim; d += 8) {
    const int left = head_dim - d;
    _mm256_store_si256(reinterpret_cast<__m256i*>(q), quantised(v + d, left, by));
    const int count = left < 8 ? left : 8;
    for (int i = 0; i < count; ++i) row[(d + i) * 4] = static_cast<std::byte>(q[i]);
  }
}

}  // namespace

const KvStoreKernel kKvStoreAvx2[4] = {
    {"avx2", DType::kF32, Isa{Isa::kAvx2}, store_key_fp32, store_value_fp32},
    {"avx2", DType::kF16, Isa{Isa::kAvx2}, store_key<uint16_t, to_fp16>, store_value<to_fp16>},
    {"avx2", DType::kBf16, Isa{Isa::kAvx2}, store_key<uint32_t, to_bf16>, store_value<to_bf16>},
    {"avx2", DType::kI8, Isa{Isa::kAvx2}, store_key_int8, store_value_int8},
};

}  // namespace lanner
