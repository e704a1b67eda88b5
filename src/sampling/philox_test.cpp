// SPDX-License-Identifier: Apache-2.0
#include "sampling/philox.h"

#include <set>

#include <gtest/gtest.h>

namespace lanner {
namespace {

using Bits = std::array<uint32_t, 4>;

// kat_vectors of the Random123 library, "philox4x32 10".
TEST(Philox, GivesTheKnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Bits{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (Bits{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Bits{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(UniformAt, IsAFunctionOfAllBitsOfSeedAndStep) {
  std::set<double> values;
  for (int bit = 0; bit < 64; ++bit) {
    values.insert(uniform_at(uint64_t{1} << bit, 0));
    values.insert(uniform_at(0, uint64_t{1} << bit));
  }
  EXPECT_EQ(values.size(), 128u);
  EXPECT_EQ(uniform_at(7, 9), uniform_at(7, 9));
}

// Neighbouring steps of a seed, and the first step of neighbouring seeds, fill [0, 1) evenly.
TEST(UniformAt, FillsTheIntervalEvenly) {
  constexpr int kBins = 100;
  constexpr int kDraws = 100000;
  for (const bool over_steps : {true, false}) {
    std::array<int, kBins> counts{};
    for (uint64_t i = 0; i < kDraws; ++i) {
      const double value = over_steps ? uniform_at(42, i) : uniform_at(i, 0);
      ASSERT_TRUE(value >= 0 && value < 1);
      ++counts[static_cast<size_t>(value * kBins)];
    }
    double chi_square = 0;
    for (const int count : counts) {
      constexpr double kExpected = double{kDraws} / kBins;
      chi_square += (count - kExpected) * (count - kExpected) / kExpected;
    }
    EXPECT_LT(chi_square, 149) << "99 degrees of freedom: one in a thousand is above";
    EXPECT_GT(chi_square, 60) << "and one in a thousand below";
  }
}

}  // namespace
}  // namespace lanner
