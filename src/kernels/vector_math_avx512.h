// SPDX-License-Identifier: Apache-2.0
// Vector helpers of the AVX-512 kernels: tails, 16-bit floats, exp, tanh and erf to about 2 ulp.
// Static, so that every object keeps its own copy (an ISA file must export nothing but its table).
#pragma once

#include <cstdint>

#include <immintrin.h>

namespace lanner {

// The first `left` lanes, all of them from 16 on.
static inline __mmask16 tail_mask_avx512(int64_t left) {
  return left >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << left) - 1);
}

// Up to sixteen of the `left` elements from p on, zeros after them.
static inline __m512 load_avx512(const float* p, int64_t left) {
  return left >= 16 ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(tail_mask_avx512(left), p);
}

static inline void store_avx512(float* p, int64_t left, __m512 x) {
  if (left >= 16) {
    _mm512_storeu_ps(p, x);
  } else {
    _mm512_mask_storeu_ps(p, tail_mask_avx512(left), x);
  }
}

static inline __m512 bf16_to_fp32_avx512(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

// Round to nearest even; a NaN stays one.
static inline __m256i fp32_to_bf16_avx512(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_mov_epi32(rounded, nan, quiet), 16));
}

// exp(x) = 2^n * exp(r), |r| <= ln(2) / 2, with the polynomial of Cephes' expf. exp(-inf) = 0.
static inline __m512 exp_avx512(__m512 x) {
  // Past these bounds the result is 0 or inf; in this order of operands a NaN passes.
  x = _mm512_min_ps(_mm512_set1_ps(89.0f), _mm512_max_ps(_mm512_set1_ps(-104.0f), x));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.9875691500e-4f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
  p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r);
  return _mm512_scalef_ps(_mm512_add_ps(p, _mm512_set1_ps(1.0f)), n);
}

// Cephes' tanhf: an odd polynomial near zero, 1 - 2 / (exp(2 |x|) + 1) beyond.
static inline __m512 tanh_avx512(__m512 x) {
  const __m512 magnitude = _mm512_abs_ps(x);
  const __m512 e = exp_avx512(_mm512_add_ps(magnitude, magnitude));
  __m512 large = _mm512_div_ps(_mm512_set1_ps(2.0f), _mm512_add_ps(e, _mm512_set1_ps(1.0f)));
  large = _mm512_sub_ps(_mm512_set1_ps(1.0f), large);
  large = _mm512_or_ps(large, _mm512_and_ps(x, _mm512_set1_ps(-0.0f)));
  const __m512 z = _mm512_mul_ps(x, x);
  __m512 p = _mm512_set1_ps(-5.70498872745e-3f);
  p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(2.06390887954e-2f));
  p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(-5.37397155531e-2f));
  p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(1.33314422036e-1f));
  p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(-3.33332819422e-1f));
  const __m512 small = _mm512_fmadd_ps(_mm512_mul_ps(p, z), x, x);
  const __mmask16 is_small = _mm512_cmp_ps_mask(magnitude, _mm512_set1_ps(0.625f), _CMP_LT_OQ);
  return _mm512_mask_mov_ps(large, is_small, small);
}

// erf after N. Juffa's erff: an odd polynomial up to 475/512, 1 - exp(polynomial) beyond.
static inline __m512 erf_avx512(__m512 x) {
  // From 10 on the result is 1; the bound keeps the polynomial from turning round. NaN passes.
  const __m512 t = _mm512_min_ps(_mm512_set1_ps(10.0f), _mm512_abs_ps(x));
  const __m512 s = _mm512_mul_ps(t, t);
  __m512 r = _mm512_fmadd_ps(_mm512_set1_ps(-1.72853470e-5f), t, _mm512_set1_ps(3.83197126e-4f));
  const __m512 u =
      _mm512_fmadd_ps(_mm512_set1_ps(-3.88396438e-3f), t, _mm512_set1_ps(2.42546219e-2f));
  r = _mm512_fmadd_ps(r, s, u);
  r = _mm512_fmadd_ps(r, t, _mm512_set1_ps(-1.06777877e-1f));
  r = _mm512_fmadd_ps(r, t, _mm512_set1_ps(-6.34846687e-1f));
  r = _mm512_fmadd_ps(r, t, _mm512_set1_ps(-1.28717512e-1f));
  r = _mm512_fmsub_ps(r, t, t);
  __m512 large = _mm512_sub_ps(_mm512_set1_ps(1.0f), exp_avx512(r));
  large = _mm512_or_ps(large, _mm512_and_ps(x, _mm512_set1_ps(-0.0f)));
  __m512 p = _mm512_set1_ps(-5.96761703e-4f);
  p = _mm512_fmadd_ps(p, s, _mm512_set1_ps(4.99119423e-3f));
  p = _mm512_fmadd_ps(p, s, _mm512_set1_ps(-2.67681349e-2f));
  p = _mm512_fmadd_ps(p, s, _mm512_set1_ps(1.12819925e-1f));
  p = _mm512_fmadd_ps(p, s, _mm512_set1_ps(-3.76125336e-1f));
  p = _mm512_fmadd_ps(p, s, _mm512_set1_ps(1.28379166e-1f));
  const __m512 small = _mm512_fmadd_ps(p, x, x);
  const __mmask16 is_large = _mm512_cmp_ps_mask(t, _mm512_set1_ps(0.927734375f), _CMP_GT_OQ);
  return _mm512_mask_mov_ps(small, is_large, large);
}

}  // namespace lanner
