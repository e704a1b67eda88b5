// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "base/float16.h"
#include "kernels/convert/blocks_x86.h"
#include "kernels/convert/kernels.h"

namespace lanner {

// Eight int8 in the low half of q.
static inline __m256 widen8(__m128i q) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q)); }

static inline void scale16(__m128i q, float d, float* y) {
  const __m256 factor = _mm256_set1_ps(d);
  _mm256_storeu_ps(y, _mm256_mul_ps(factor, widen8(q)));
  _mm256_storeu_ps(y + 8, _mm256_mul_ps(factor, widen8(_mm_unpackhi_epi64(q, q))));
}

// Product and sum are rounded one by one, as in the reference.
static inline void affine16(__m128i q, float d, float m, float* y) {
  const __m256 factor = _mm256_set1_ps(d);
  const __m256 offset = _mm256_set1_ps(m);
  const __m256 high = widen8(_mm_unpackhi_epi64(q, q));
  _mm256_storeu_ps(y, _mm256_add_ps(_mm256_mul_ps(factor, widen8(q)), offset));
  _mm256_storeu_ps(y + 8, _mm256_add_ps(_mm256_mul_ps(factor, high), offset));
}

static void fp16_to_fp32_row(const void* x, int64_t n, void* y) {
  const uint16_t* in = static_cast<const uint16_t*>(x);
  float* out = static_cast<float*>(y);
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i half8 = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i));
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(half8));
  }
  for (; i < n; ++i) out[i] = _cvtsh_ss(in[i]);
}

static void bf16_to_fp32_row(const void* x, int64_t n, void* y) {
  const uint16_t* in = static_cast<const uint16_t*>(x);
  float* out = static_cast<float*>(y);
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i half8 = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i));
    const __m256i bits = _mm256_slli_epi32(_mm256_cvtepu16_epi32(half8), 16);
    _mm256_storeu_ps(out + i, _mm256_castsi256_ps(bits));
  }
  for (; i < n; ++i) out[i] = bf16_to_fp32(in[i]);
}

static void fp32_to_fp16_row(const void* x, int64_t n, void* y) {
  const float* in = static_cast<const float*>(x);
  uint16_t* out = static_cast<uint16_t*>(y);
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i half8 = _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), half8);
  }
  for (; i < n; ++i) out[i] = _cvtss_sh(in[i], _MM_FROUND_TO_NEAREST_INT);
}

// fp32_to_bf16() of eight elements; the result is in the low 16 bits of each lane.
static inline __m256i round_to_bf16(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i high = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
  const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, bias), 16);
  const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(rounded, quiet, is_nan);
}

static void fp32_to_bf16_row(const void* x, int64_t n, void* y) {
  const float* in = static_cast<const float*>(x);
  uint16_t* out = static_cast<uint16_t*>(y);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256i low = round_to_bf16(_mm256_loadu_ps(in + i));
    const __m256i high = round_to_bf16(_mm256_loadu_ps(in + i + 8));
    // Packing works inside 128-bit lanes: put the quarters back in order.
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), packed);
  }
  for (; i < n; ++i) out[i] = fp32_to_bf16(in[i]);
}

static const ConvertKernel kKernels[] = {
    {DType::kF16, DType::kF32, fp16_to_fp32_row},
    {DType::kBf16, DType::kF32, bf16_to_fp32_row},
    {DType::kF32, DType::kF16, fp32_to_fp16_row},
    {DType::kF32, DType::kBf16, fp32_to_bf16_row},
    LANNER_BLOCK_KERNELS,
};

const ConvertKernelTable kConvertAvx2 = {"avx2", Isa{Isa::kAvx2}, kKernels,
                                         sizeof kKernels / sizeof kKernels[0]};

}  // namespace lanner
