// SPDX-License-Identifier: Apache-2.0
// What is done per row besides multiplying: preparing activations and finishing y. Plain loops that
// each ISA file compiles for itself; integer and exact operations only where results must agree, so
// that every ISA quantises to the same bits.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/gemm/kernels.h"

namespace lanner {
namespace {

// Below this a group counts as zero: its reciprocal would overflow.
constexpr float kTinyActivation = 1e-35f;

static inline float float_of_bits(int32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline int32_t bits_of_float(float value) {
  int32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

// Largest magnitude. Compared as integers, which order like the floats, so that the loop vectorises
// and a NaN wins.
static inline float largest_magnitude(const float* x, int64_t n) {
  int32_t largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int32_t bits = bits_of_float(x[i]) & 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  return float_of_bits(largest);
}

// q = round(x * inverse) to nearest even: adding 1.5 * 2^23 leaves the integer in the low bits.
// Returns the sum of q.
static inline int32_t quantize(const float* x, int64_t n, float inverse, int8_t* q) {
  constexpr float kRound = 12582912.0f;
  int32_t sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const auto value = static_cast<int8_t>(bits_of_float(x[i] * inverse + kRound) - 0x4b400000);
    q[i] = value;
    sum += value;
  }
  return sum;
}

static void quantize_row(const float* x, int64_t k, int64_t k_padded, int zero_point, int8_t* q,
                         float* scale, int32_t* offset) {
  const float largest = largest_magnitude(x, k);
  *scale = largest / 127.0f;
  *offset = -zero_point * quantize(x, k, largest < kTinyActivation ? 0.0f : 127.0f / largest, q);
  memset(q + k, 0, static_cast<size_t>(k_padded - k));
}

static void quantize_groups(const float* x, int64_t k, int64_t k_padded, int group, int zero_point,
                            int8_t* q, float* scale, int32_t* offset, float* sum) {
  constexpr int kGroup = 32;
  const int parts = kGroup / group;
  for (int64_t g = 0; g < k_padded / kGroup; ++g) {
    const float* in = x + g * kGroup;
    int8_t* out = q + g * kGroup;
    float padded[kGroup];
    const int64_t left = k - g * kGroup;
    if (left < kGroup) {
      for (int i = 0; i < kGroup; ++i) padded[i] = i < left ? in[i] : 0.0f;
      in = padded;
    }
    const float largest = largest_magnitude(in, kGroup);
    const float inverse = largest < kTinyActivation ? 0.0f : 127.0f / largest;
    scale[g] = largest / 127.0f;
    if (parts == 1) {
      const int32_t total = quantize(in, kGroup, inverse, out);
      offset[g] = -zero_point * total;
      sum[g] = scale[g] * static_cast<float>(total);
    } else {
      for (int part = 0; part < 2; ++part) {
        const int32_t total = quantize(in + part * 16, 16, inverse, out + part * 16);
        offset[g * 2 + part] = -zero_point * total;
        sum[g * 2 + part] = scale[g] * static_cast<float>(total);
      }
    }
  }
}

static void to_bf16(const float* x, int64_t k, int64_t k_padded, uint16_t* y) {
  for (int64_t i = 0; i < k; ++i) {
    const auto bits = static_cast<uint32_t>(bits_of_float(x[i]));
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const uint32_t nan = (bits >> 16) | 0x40u;
    y[i] = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
  }
  for (int64_t i = k; i < k_padded; ++i) y[i] = 0;
}

constexpr GemmActivations kActivations = {to_bf16, quantize_row, quantize_groups};

static void finish(const GemmFinish& f) {
  for (int64_t r = 0; r < f.rows; ++r) {
    const float* __restrict acc = f.acc + r * f.acc_stride;
    float* __restrict y = f.y + r * f.y_stride;
    const float* __restrict bias = f.bias;
    const float* __restrict w_scale = f.w_scale;
    float values[kPanelRows];
    for (int64_t c = 0; c < f.columns; c += kPanelRows) {
      const int64_t count = f.columns - c < kPanelRows ? f.columns - c : kPanelRows;
      memcpy(values, acc + c, sizeof values);
      if (f.x_scale != nullptr) {
        int32_t sums[kPanelRows];
        memcpy(sums, acc + c, sizeof sums);
        const float x_scale = f.x_scale[r];
        for (int i = 0; i < kPanelRows; ++i) {
          values[i] = static_cast<float>(sums[i]) * x_scale * w_scale[c + i];
        }
      }
      if (count == kPanelRows) {
        if (bias != nullptr) {
          for (int i = 0; i < kPanelRows; ++i) values[i] += bias[c + i];
        }
        if (f.accumulate) {
          for (int i = 0; i < kPanelRows; ++i) values[i] += y[c + i];
        }
        memcpy(y + c, values, sizeof values);
      } else {
        for (int64_t i = 0; i < count; ++i) {
          float value = values[i];
          if (bias != nullptr) value += bias[c + i];
          if (f.accumulate) value += y[c + i];
          y[c + i] = value;
        }
      }
    }
  }
}

}  // namespace
}  // namespace lanner
