// SPDX-License-Identifier: Apache-2.0
#include "kernels/machine_peak/machine_peak.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/machine_peak/kernels.h"

namespace lanner {
namespace {

class ReadKernelTest : public testing::TestWithParam<const ReadKernel*> {};

TEST_P(ReadKernelTest, SeesEveryByte) {
  if (!cpu_isa().has(GetParam()->needs)) {
    GTEST_SKIP() << "this CPU lacks " << GetParam()->needs.to_string();
  }
  constexpr int64_t kStreamBytes = 512;
  std::vector<std::byte> data(8 * kStreamBytes);
  EXPECT_EQ(GetParam()->read(data.data(), kStreamBytes), 0u);
  for (std::byte& byte : data) {
    byte = std::byte{1};
    EXPECT_NE(GetParam()->read(data.data(), kStreamBytes), 0u) << &byte - data.data();
    byte = std::byte{0};
  }
}

INSTANTIATE_TEST_SUITE_P(AllKernels, ReadKernelTest,
                         testing::ValuesIn(read_kernels().begin(), read_kernels().end()),
                         [](const auto& test) { return std::string(test.param->name); });

class PeakKernelTest : public testing::TestWithParam<const PeakKernel*> {};

// The work is really done: the value differs with the number of rounds.
TEST_P(PeakKernelTest, ComputesEveryRound) {
  if (!cpu_isa().has(GetParam()->needs)) {
    GTEST_SKIP() << "this CPU lacks " << GetParam()->needs.to_string();
  }
  const float few = GetParam()->run(10);
  const float more = GetParam()->run(1000);
  EXPECT_GT(more, few);
}

INSTANTIATE_TEST_SUITE_P(AllKernels, PeakKernelTest,
                         testing::ValuesIn(peak_kernels().begin(), peak_kernels().end()),
                         [](const auto& test) {
                           std::string name = test.param->name;
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

TEST(SelectPeak, TakesTheBestTheCpuHas) {
  EXPECT_STREQ(select_read(Isa{}).name, "scalar");
  EXPECT_STREQ(select_read(Isa{Isa::kAvx2, Isa::kAvx512}).name, "avx512");
  EXPECT_STREQ(select_peak(PeakType::kF32, Isa{})->name, "scalar.fp32");
  EXPECT_STREQ(select_peak(PeakType::kInt8, Isa{Isa::kAvx2, Isa::kAvxVnni})->name, "avx_vnni.int8");
  EXPECT_EQ(select_peak(PeakType::kInt8, Isa{Isa::kAvx2}), nullptr);
  EXPECT_EQ(select_peak(PeakType::kBf16, Isa{Isa::kAvx2, Isa::kAvx512}), nullptr);
}

TEST(MeasurePeak, GivesRatesOfThisMachine) {
  ThreadPool threads(2);
  EXPECT_GT(measure_read_bandwidth(1 << 20, threads), 0.0);
  EXPECT_GT(*measure_peak(PeakType::kF32, threads), 0.0);
  EXPECT_GT(measure_empty_region(threads), 0.0);
}

}  // namespace
}  // namespace lanner
