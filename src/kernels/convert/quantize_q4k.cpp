// SPDX-License-Identifier: Apache-2.0
#include "kernels/convert/quantize_q4k.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/float16.h"
#include "kernels/convert/blocks.h"

namespace lanner {
namespace {

constexpr int kGroup = 32;
constexpr int kGroups = 8;
constexpr int kHighest = 15;      // of a value
constexpr float kSixBits = 63.f;  // of a scale or a minimum

// x is about scale * q - min, both not negative.
struct Fit {
  float scale = 0;
  float min = 0;
};

int nearest(float value, int highest) {
  return static_cast<int>(std::clamp(std::nearbyint(value), 0.0f, static_cast<float>(highest)));
}

float squared_error(const float* x, const Fit& fit) {
  const float inverse = fit.scale > 0 ? 1.0f / fit.scale : 0.0f;
  float sum = 0;
  for (int i = 0; i < kGroup; ++i) {
    const auto q = static_cast<float>(nearest((x[i] + fit.min) * inverse, kHighest));
    const float error = fit.scale * q - fit.min - x[i];
    sum += error * error;
  }
  return sum;
}

// The scale and minimum that suit the q of `fit` best.
Fit least_squares(const float* x, const Fit& fit) {
  const float inverse = 1.0f / fit.scale;
  float sum_q = 0, sum_qq = 0, sum_x = 0, sum_qx = 0;
  for (int i = 0; i < kGroup; ++i) {
    const auto q = static_cast<float>(nearest((x[i] + fit.min) * inverse, kHighest));
    sum_q += q;
    sum_qq += q * q;
    sum_x += x[i];
    sum_qx += q * x[i];
  }
  const float determinant = kGroup * sum_qq - sum_q * sum_q;
  if (determinant <= 0) return fit;
  Fit better{(kGroup * sum_qx - sum_q * sum_x) / determinant,
             (sum_q * sum_qx - sum_qq * sum_x) / determinant};
  if (better.min < 0) better = {sum_qq > 0 ? sum_qx / sum_qq : 0.0f, 0.0f};
  return better.scale > 0 ? better : fit;
}

Fit fit_group(const float* x) {
  const auto [low, high] = std::minmax_element(x, x + kGroup);
  const float min = std::max(-*low, 0.0f);
  const float range = std::max(*high, 0.0f) + min;
  Fit best{range / kHighest, min};
  if (!(range > 0)) return best;
  float best_error = squared_error(x, best);
  // Ranges somewhat wider and narrower than that of the values, each fitted.
  for (int step = -4; step <= 8; ++step) {
    Fit candidate{range / (kHighest + 0.125f * static_cast<float>(step)), min};
    for (int round = 0; round < 2; ++round) candidate = least_squares(x, candidate);
    const float error = squared_error(x, candidate);
    if (error < best_error) {
      best_error = error;
      best = candidate;
    }
  }
  return best;
}

void put_half(float value, uint8_t* bytes, float* kept) {
  const uint16_t bits = fp32_to_fp16(value);
  std::memcpy(bytes, &bits, sizeof bits);
  *kept = fp16_to_fp32(bits);
}

// The inverse of q4k_scale() and q4k_min().
void put_scales(const int* scales, const int* minima, uint8_t* bytes) {
  for (int j = 0; j < 4; ++j) {
    bytes[j] = static_cast<uint8_t>(scales[j] | (scales[j + 4] >> 4) << 6);
    bytes[j + 4] = static_cast<uint8_t>(minima[j] | (minima[j + 4] >> 4) << 6);
    bytes[j + 8] = static_cast<uint8_t>((scales[j + 4] & 15) | (minima[j + 4] & 15) << 4);
  }
}

void quantize_block(const float* x, BlockQ4K* block) {
  Fit fits[kGroups];
  float largest_scale = 0, largest_min = 0;
  bool finite = true;
  for (int g = 0; g < kGroups; ++g) {
    for (int i = 0; i < kGroup; ++i) finite = finite && std::isfinite(x[g * kGroup + i]);
  }
  for (int g = 0; g < kGroups && finite; ++g) {
    fits[g] = fit_group(x + g * kGroup);
    largest_scale = std::max(largest_scale, fits[g].scale);
    largest_min = std::max(largest_min, fits[g].min);
  }
  float d = 0, dmin = 0;
  put_half(finite ? largest_scale / kSixBits : NAN, block->d, &d);
  put_half(finite ? largest_min / kSixBits : 0.0f, block->dmin, &dmin);
  int scales[kGroups] = {}, minima[kGroups] = {};
  for (int g = 0; g < kGroups; ++g) {
    scales[g] = d > 0 ? nearest(fits[g].scale / d, 63) : 0;
    minima[g] = dmin > 0 ? nearest(fits[g].min / dmin, 63) : 0;
  }
  put_scales(scales, minima, block->scales);
  for (int g = 0; g < kGroups; ++g) {
    const float scale = d * static_cast<float>(scales[g]);
    const float min = dmin * static_cast<float>(minima[g]);
    const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
    uint8_t* out = block->qs + g / 2 * kGroup;
    for (int i = 0; i < kGroup; ++i) {
      const int q = finite ? nearest((x[g * kGroup + i] + min) * inverse, kHighest) : 0;
      out[i] = static_cast<uint8_t>(g % 2 == 0 ? q : out[i] | q << 4);
    }
  }
}

}  // namespace

void quantize_q4k(const float* x, int64_t n, std::byte* blocks) {
  constexpr int kElements = kGroup * kGroups;
  auto* out = reinterpret_cast<BlockQ4K*>(blocks);
  for (int64_t b = 0; b < n / kElements; ++b) quantize_block(x + b * kElements, out + b);
}

}  // namespace lanner
