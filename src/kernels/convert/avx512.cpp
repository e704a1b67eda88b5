// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "kernels/convert/blocks_x86.h"
#include "kernels/convert/kernels.h"

namespace lanner {

static inline void scale16(__m128i q, float d, float* y) {
  const __m512 values = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q));
  _mm512_storeu_ps(y, _mm512_mul_ps(_mm512_set1_ps(d), values));
}

// Product and sum are rounded one by one, as in the reference.
static inline void affine16(__m128i q, float d, float m, float* y) {
  const __m512 values = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q));
  const __m512 product = _mm512_mul_ps(_mm512_set1_ps(d), values);
  _mm512_storeu_ps(y, _mm512_add_ps(product, _mm512_set1_ps(m)));
}

// Lanes of the 16 elements from i on that lie before n.
static inline __mmask16 lanes(int64_t i, int64_t n) {
  return n - i >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << (n - i)) - 1);
}

static void fp16_to_fp32_row(const void* x, int64_t n, void* y) {
  const uint16_t* in = static_cast<const uint16_t*>(x);
  float* out = static_cast<float*>(y);
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = lanes(i, n);
    _mm512_mask_storeu_ps(out + i, mask, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, in + i)));
  }
}

static void bf16_to_fp32_row(const void* x, int64_t n, void* y) {
  const uint16_t* in = static_cast<const uint16_t*>(x);
  float* out = static_cast<float*>(y);
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = lanes(i, n);
    const __m512i bits = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, in + i));
    _mm512_mask_storeu_ps(out + i, mask, _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16)));
  }
}

static void fp32_to_fp16_row(const void* x, int64_t n, void* y) {
  const float* in = static_cast<const float*>(x);
  uint16_t* out = static_cast<uint16_t*>(y);
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = lanes(i, n);
    const __m512 values = _mm512_maskz_loadu_ps(mask, in + i);
    _mm256_mask_storeu_epi16(out + i, mask, _mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT));
  }
}

static void fp32_to_bf16_row(const void* x, int64_t n, void* y) {
  const float* in = static_cast<const float*>(x);
  uint16_t* out = static_cast<uint16_t*>(y);
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = lanes(i, n);
    const __m512 values = _mm512_maskz_loadu_ps(mask, in + i);
    const __m512i bits = _mm512_castps_si512(values);
    const __m512i high = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, bias), 16);
    const __mmask16 is_nan = _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q);
    const __m512i result = _mm512_mask_or_epi32(rounded, is_nan, high, _mm512_set1_epi32(0x40));
    _mm256_mask_storeu_epi16(out + i, mask, _mm512_cvtepi32_epi16(result));
  }
}

static const ConvertKernel kKernels[] = {
    {DType::kF16, DType::kF32, fp16_to_fp32_row},
    {DType::kBf16, DType::kF32, bf16_to_fp32_row},
    {DType::kF32, DType::kF16, fp32_to_fp16_row},
    {DType::kF32, DType::kBf16, fp32_to_bf16_row},
    LANNER_BLOCK_KERNELS,
};

const ConvertKernelTable kConvertAvx512 = {"avx512", Isa{Isa::kAvx512}, kKernels,
                                           sizeof kKernels / sizeof kKernels[0]};

}  // namespace lanner
