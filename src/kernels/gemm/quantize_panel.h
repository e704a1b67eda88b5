// SPDX-License-Identifier: Apache-2.0
// Weights quantised into a panel. Plain loops that each ISA file compiles for itself, after it has
// defined to_halves(); every operation is exact or rounded alike, so that all ISAs give the same
// bits.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/gemm/kernels.h"

namespace lanner {
namespace {

constexpr int kRun = 32;  // values quantised at a time

static inline int32_t weight_bits(float value) {
  int32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

struct WeightExtent {
  float largest;  // magnitude; NaN if there is one
  float high;
  float low;
};

static inline WeightExtent weight_extent(const float* w, int n) {
  int32_t largest = 0;
  float high = w[0];
  float low = w[0];
  for (int i = 0; i < n; ++i) {
    const int32_t bits = weight_bits(w[i]) & 0x7fffffff;  // ordered like the floats, NaN on top
    largest = bits > largest ? bits : largest;
    high = w[i] > high ? w[i] : high;
    low = w[i] < low ? w[i] : low;
  }
  WeightExtent extent{0.0f, high, low};
  memcpy(&extent.largest, &largest, sizeof largest);
  return extent;
}

// round(w * inverse + shift) to nearest even, limited to [0, highest]. Adding 1.5 * 2^23 leaves the
// integer in the low bits.
static inline void quantize_run(const float* w, float inverse, float shift, int highest,
                                uint8_t* q) {
  constexpr float kRound = 12582912.0f;
  const float high = static_cast<float>(highest);
  for (int i = 0; i < kRun; ++i) {
    float value = w[i] * inverse + shift;
    value = value > 0.0f ? value : 0.0f;
    value = value < high ? value : high;
    q[i] = static_cast<uint8_t>(weight_bits(value + kRound) - 0x4b400000);
  }
}

// One number of each row of a panel.
using Rows __attribute__((vector_size(kPanelRows * sizeof(float)))) = float;

// Signed 4-bit values of `scale` for a group, w [kSize][16]: the sum of their squared errors, each
// times the square of the value, and the scale that is best for what the values are rounded to,
// each [16]. Large weights matter more than their number: a plain squared error gave the sample
// model a larger divergence than no search at all.
template <int kSize>
static inline void fit_int4(const float (*w)[kPanelRows], const float* scale, float* error,
                            float* refined) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  Rows step;
  memcpy(&step, scale, sizeof step);
  const Rows inverse = 1.0f / step;
  const Rows lowest = Rows{} - 8.0f;
  const Rows highest = Rows{} + 7.0f;
  Rows errors{};
  Rows products{};
  Rows squares{};
  for (int i = 0; i < kSize; ++i) {
    Rows values;
    memcpy(&values, w[i], sizeof values);
    Rows q = values * inverse;
    q = q > lowest ? q : lowest;
    q = q < highest ? q : highest;
    q = (q + kRound) - kRound;
    const Rows difference = values - q * step;
    const Rows weight = values * values;
    errors += weight * (difference * difference);
    products += weight * (values * q);
    squares += weight * (q * q);
  }
  const Rows best = products / squares;
  memcpy(error, &errors, sizeof errors);
  memcpy(refined, &best, sizeof best);
}

// The scales of a group of signed 4-bit values, [16]: on entry those with which the value of
// largest magnitude becomes -8; then of those of both signs with which it becomes 7 to 8.5, and of
// the best refined once, the ones with the smallest error. Rows of zeros and NaN keep
// theirs.
template <int kSize>
static void search_int4_scales(const float* group, int64_t stride, float* scale) {
  alignas(64) float w[kSize][kPanelRows];
  for (int r = 0; r < kPanelRows; ++r) {
    for (int i = 0; i < kSize; ++i) w[i][r] = group[r * stride + i];
  }
  // Times -8: the value of largest magnitude.
  constexpr float kFactors[] = {8.0f / 7.5f,  8.0f / 7.0f,  8.0f / 8.5f, -1.0f,
                                -8.0f / 7.5f, -8.0f / 7.0f, -8.0f / 8.5f};
  float first[kPanelRows];
  float tried[kPanelRows];
  float error[kPanelRows];
  float refined[kPanelRows];
  float best_error[kPanelRows];
  float best_refined[kPanelRows];
  memcpy(first, scale, sizeof first);
  fit_int4<kSize>(w, scale, best_error, best_refined);
  for (const float factor : kFactors) {
    for (int r = 0; r < kPanelRows; ++r) tried[r] = first[r] * factor;
    fit_int4<kSize>(w, tried, error, refined);
    for (int r = 0; r < kPanelRows; ++r) {
      const bool better = error[r] < best_error[r];
      best_error[r] = better ? error[r] : best_error[r];
      best_refined[r] = better ? refined[r] : best_refined[r];
      scale[r] = better ? tried[r] : scale[r];
    }
  }
  fit_int4<kSize>(w, best_refined, error, refined);
  for (int r = 0; r < kPanelRows; ++r) {
    scale[r] = error[r] < best_error[r] ? best_refined[r] : scale[r];
  }
}

// The whole panel: w [16][stride] holds k values a row, k a multiple of the layout's k_block.
template <GemmGroup kGroup>
static void quantize_panel(const float* w, int64_t stride, int64_t k, std::byte* panel) {
  constexpr GemmLayout kLayout = gemm_layout(kGroup);
  static_assert(!kLayout.two_level);
  constexpr int kHighest = (1 << kLayout.bits) - 1;
  constexpr int kGroups = kLayout.k_block / kLayout.scale_group;
  for (; k > 0; k -= kLayout.k_block, w += kLayout.k_block, panel += kLayout.block_bytes) {
    for (int g = 0; g < kGroups; ++g) {
      const float* group = w + g * kLayout.scale_group;
      float scale[kPanelRows];
      float min[kPanelRows] = {};
      for (int r = 0; r < kPanelRows; ++r) {
        const WeightExtent e = weight_extent(group + r * stride, kLayout.scale_group);
        if (kLayout.has_min) {
          // (largest - largest) is zero, or NaN where the group has one or an infinity.
          scale[r] = (e.high - e.low) / kHighest + (e.largest - e.largest);
          min[r] = e.low;
        } else if (kLayout.bits == 8) {
          scale[r] = e.largest / 127.0f;
        } else {
          static_assert(kLayout.bits == 8 || kLayout.has_min || kLayout.zero_point == 8);
          // -8 is there and +8 is not.
          scale[r] = (e.high == e.largest ? e.largest : -e.largest) / -8.0f;
        }
      }
      if constexpr (kLayout.bits == 4 && !kLayout.has_min) {
        search_int4_scales<kLayout.scale_group>(group, stride, scale);
      }
      float shift[kPanelRows];
      float inverse[kPanelRows];
      to_halves(scale, panel + kLayout.scale_offset + g * kPanelRows * 2);
      if (kLayout.has_min) to_halves(min, panel + kLayout.min_offset + g * kPanelRows * 2);
      for (int r = 0; r < kPanelRows; ++r) {
        inverse[r] = scale[r] == 0.0f ? 0.0f : 1.0f / scale[r];
        shift[r] = kLayout.has_min ? -min[r] * inverse[r] : static_cast<float>(kLayout.zero_point);
      }
      for (int i = 0; i < kLayout.scale_group; i += kRun) {
        alignas(64) uint8_t q[kPanelRows][kRun];
        for (int r = 0; r < kPanelRows; ++r) {
          quantize_run(group + r * stride + i, inverse[r], shift[r], kHighest, q[r]);
        }
        auto* out = reinterpret_cast<uint8_t*>(panel + kLayout.q_offset) +
                    (g * kLayout.scale_group + i) * kPanelRows * kLayout.bits / 8;
        for (int r = 0; r < kPanelRows; ++r) {
          uint32_t quads[kRun / 4];
          memcpy(quads, q[r], sizeof quads);
          if (kLayout.bits == 8) {
            for (int j = 0; j < kRun / 4; ++j) memcpy(out + (j * kPanelRows + r) * 4, quads + j, 4);
          } else {
            for (int j = 0; j < kRun / 8; ++j) {
              const uint32_t both = quads[2 * j] | quads[2 * j + 1] << 4;
              memcpy(out + (j * kPanelRows + r) * 4, &both, 4);
            }
          }
        }
      }
    }
  }
}

constexpr GemmQuantizer kQuantizers[] = {
    {GemmGroup::kI8G32, quantize_panel<GemmGroup::kI8G32>},
    {GemmGroup::kI4G32, quantize_panel<GemmGroup::kI4G32>},
    {GemmGroup::kI4G64, quantize_panel<GemmGroup::kI4G64>},
    {GemmGroup::kI4G128, quantize_panel<GemmGroup::kI4G128>},
    {GemmGroup::kI4G32M, quantize_panel<GemmGroup::kI4G32M>},
};
constexpr int kNumQuantizers = sizeof kQuantizers / sizeof kQuantizers[0];

}  // namespace
}  // namespace lanner
