// SPDX-License-Identifier: Apache-2.0
#include "base/float16.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include <gtest/gtest.h>

namespace lanner {
namespace {

// IEEE 754 binary16 from its definition.
double fp16_value(int bits) {
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  if (exponent == 31) {
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  }
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

// Round to nearest, ties to even, among the finite values of a format given by its lattice: the
// spacing of values around x is 2^(exponent - mantissa bits), but not below 2^lowest.
double round_to(double x, int mantissa_bits, int lowest, double overflow) {
  if (x == 0) return x;
  int exponent = 0;
  std::frexp(x, &exponent);
  const double spacing = std::ldexp(1.0, std::max(exponent - 1 - mantissa_bits, lowest));
  const double rounded = std::nearbyint(x / spacing) * spacing;
  return std::abs(rounded) >= overflow ? std::copysign(std::numeric_limits<double>::infinity(), x)
                                       : std::copysign(rounded, x);
}

TEST(Float16, ReadsAll65536ValuesOfFp16) {
  for (int bits = 0; bits < 65536; ++bits) {
    const float value = fp16_to_fp32(static_cast<uint16_t>(bits));
    const double expected = fp16_value(bits);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
    } else {
      ASSERT_EQ(value, expected) << bits;
      ASSERT_EQ(std::signbit(value), std::signbit(expected)) << bits;
    }
  }
}

TEST(Float16, WritesBackEveryValueOfFp16) {
  for (int bits = 0; bits < 65536; ++bits) {
    const float value = fp16_to_fp32(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(fp16_to_fp32(fp32_to_fp16(value)))) << bits;
    } else {
      ASSERT_EQ(fp32_to_fp16(value), bits);
    }
  }
}

TEST(Float16, RoundsToTheNearestFp16WithTiesToEven) {
  const auto check = [](float value) {
    const double expected = round_to(value, 10, -24, 65520);
    ASSERT_EQ(static_cast<double>(fp16_to_fp32(fp32_to_fp16(value))), expected) << value;
  };
  // Between each two neighbours: the middle, and the fp32 values beside it.
  for (int bits = 0; bits < 0x7c00; ++bits) {
    const double middle = bits == 0x7bff ? 65520.0 : (fp16_value(bits) + fp16_value(bits + 1)) / 2;
    const float tie = static_cast<float>(middle);
    for (const float value : {tie, std::nextafterf(tie, 0.0f), std::nextafterf(tie, 1e9f)}) {
      check(value);
      check(-value);
    }
  }
  EXPECT_EQ(fp32_to_fp16(std::numeric_limits<float>::infinity()), 0x7c00);
  EXPECT_EQ(fp32_to_fp16(-std::numeric_limits<float>::max()), 0xfc00);
  EXPECT_EQ(fp32_to_fp16(std::numeric_limits<float>::denorm_min()), 0);
}

TEST(Float16, ReadsAndWritesBackEveryValueOfBf16) {
  for (int bits = 0; bits < 65536; ++bits) {
    const float value = bf16_to_fp32(static_cast<uint16_t>(bits));
    ASSERT_EQ(std::bit_cast<uint32_t>(value), static_cast<uint32_t>(bits) << 16);
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(bf16_to_fp32(fp32_to_bf16(value)))) << bits;
    } else {
      ASSERT_EQ(fp32_to_bf16(value), bits);
    }
  }
}

TEST(Float16, RoundsToTheNearestBf16WithTiesToEven) {
  const double overflow = std::ldexp(511.0, 119);  // halfway from the largest value to 2^128
  const auto check = [&](uint32_t bits) {
    const float value = std::bit_cast<float>(bits);
    if (!std::isfinite(value)) return;
    const double expected = round_to(value, 7, -133, overflow);
    ASSERT_EQ(static_cast<double>(bf16_to_fp32(fp32_to_bf16(value))), expected) << bits;
  };
  for (uint32_t high = 0; high < 65536; ++high) {
    for (const uint32_t low : {0x0000u, 0x0001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      check(high << 16 | low);
    }
  }
  std::mt19937 generator(1);
  for (int i = 0; i < 100000; ++i) check(static_cast<uint32_t>(generator()));
}

TEST(Float16, KeepsANanWhosePayloadIsInTheDroppedBits) {
  const float nan = std::bit_cast<float>(0x7f800001u);
  EXPECT_TRUE(std::isnan(bf16_to_fp32(fp32_to_bf16(nan))));
  EXPECT_TRUE(std::isnan(fp16_to_fp32(fp32_to_fp16(nan))));
}

}  // namespace
}  // namespace lanner
