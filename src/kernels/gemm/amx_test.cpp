// SPDX-License-Identifier: Apache-2.0
// The AMX kernels, built on a C++ model of the tile instructions, against the reference.
#include <atomic>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/testing/random.h"
#include "base/testing/tolerance.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/testing/amx_model.h"

namespace lanner {

static std::atomic<int64_t> faults{0};
void amx_model_fault() { ++faults; }

namespace {

constexpr Isa kHost{Isa::kAvx512, Isa::kAvx512Vnni};

const GemmKernel& scalar_kernel(GemmGroup group) { return select_gemm(group, Isa{}); }

DType packing(GemmGroup group) {
  switch (group) {
    case GemmGroup::kBf16:
      return DType::kBf16;
    case GemmGroup::kI8:
      return DType::kW8A8;
    case GemmGroup::kI8G32:
      return DType::kI8;
    case GemmGroup::kI4G32:
      return DType::kI4;
    case GemmGroup::kI4G128:
      return DType::kI4G128;
    default:
      return DType::kQ4K;
  }
}

std::vector<std::byte> weight_bytes(DType dtype, int64_t n, int64_t k) {
  if (dtype != DType::kQ4K) {
    const std::vector<float> w = random_normal(n * k, 1, 1.0f / std::sqrt(static_cast<float>(k)));
    std::vector<std::byte> bytes(w.size() * 4);
    std::memcpy(bytes.data(), w.data(), bytes.size());
    return bytes;
  }
  std::vector<std::byte> bytes(static_cast<size_t>(n * dtype_bytes(dtype, k)));
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 41 % 0x1c);
  return bytes;
}

std::vector<float> multiply(const GemmKernel& kernel, const GemmKernel& x_like,
                            std::vector<std::byte>& bytes, std::vector<float> x, int64_t rows,
                            int64_t n, int64_t k, int num_threads) {
  // Where the tile kernel rounds x to bf16 the reference gets it rounded.
  if (gemm_path(x_like, rows).x == GemmX::kBf16) {
    for (float& value : x) {
      uint32_t bits;
      std::memcpy(&bits, &value, 4);
      bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
      std::memcpy(&value, &bits, 4);
    }
  }
  const DType dtype = packing(kernel.group);
  const bool blocks = dtype == DType::kQ4K;
  const Tensor part(bytes.data(), blocks ? dtype : DType::kF32, {n, k});
  ThreadPool threads(num_threads);
  const PackedWeight packed =
      PackedWeight::pack({&part, 1}, {.dtype = dtype, .isa = Isa{}, .kernel = &kernel}, threads);
  std::vector<float> y(static_cast<size_t>(rows * n));
  Workspace workspace;
  gemm(Tensor(x.data(), DType::kF32, {rows, k}), packed, {},
       Tensor(y.data(), DType::kF32, {rows, n}), workspace, threads);
  return y;
}

class AmxTest : public testing::TestWithParam<const GemmKernel*> {
 protected:
  void SetUp() override {
    if (!cpu_isa().has(kHost)) {
      GTEST_SKIP() << "around the model the kernels use " << kHost.to_string();
    }
  }
};

TEST_P(AmxTest, EqualsScalarAtOddSizes) {
  const GemmKernel& kernel = *GetParam();
  struct Size {
    int64_t n, k;
  };
  const bool blocks = kernel.group == GemmGroup::kI4G32MK;
  const std::vector<Size> sizes = blocks
                                      ? std::vector<Size>{{1, 256}, {203, 512}, {37, 1280}}
                                      : std::vector<Size>{{1, 1}, {203, 71}, {37, 777}, {80, 64}};
  for (const auto [n, k] : sizes) {
    std::vector<std::byte> bytes = weight_bytes(packing(kernel.group), n, k);
    for (const int64_t rows : {1, 4, 5, 8, 16, 17, 31, 32, 33, 49, 100}) {
      const std::vector<float> x = random_normal(rows * k, 2);
      const std::vector<float> expected =
          multiply(scalar_kernel(kernel.group), kernel, bytes, x, rows, n, k, 1);
      // Sums in another order, of products that are not all about 1.
      double largest = 1.0;
      for (const float value : expected) largest = std::max(largest, std::abs(double{value}));
      EXPECT_THAT(multiply(kernel, kernel, bytes, x, rows, n, k, static_cast<int>(rows % 3) + 1),
                  is_close_to(expected, {tolerance::kReduction.absolute * largest,
                                         tolerance::kReduction.relative}))
          << "m=" << rows << " n=" << n << " k=" << k;
    }
  }
  EXPECT_EQ(faults, 0);
}

// Integer sums are exact and scaled in the same order.
TEST_P(AmxTest, GivesTheBitsOfAvx512) {
  const GemmKernel& kernel = *GetParam();
  if (kernel.group == GemmGroup::kBf16) GTEST_SKIP() << "bf16 tiles sum in another order";
  const int64_t n = 100, k = 768, rows = 40;
  std::vector<std::byte> bytes = weight_bytes(packing(kernel.group), n, k);
  const std::vector<float> x = random_normal(rows * k, 3);
  EXPECT_EQ(multiply(kernel, kernel, bytes, x, rows, n, k, 2),
            multiply(select_gemm(kernel.group, kHost), kernel, bytes, x, rows, n, k, 1));
}

TEST_P(AmxTest, PassesTheTestThatDecidesOnItsUse) {
  EXPECT_TRUE(gemm_kernels_agree(*GetParam(), select_gemm(GetParam()->group, kHost)));
  EXPECT_TRUE(gemm_kernels_agree(*GetParam(), scalar_kernel(GetParam()->group)));
}

TEST_P(AmxTest, AKernelThatMultipliesWronglyFailsIt) {
  GemmKernel wrong = *GetParam();
  for (GemmPath& path : wrong.paths) {
    if (path.max_rows == kAllRows) path.tile = [](const GemmTile&) {};
  }
  EXPECT_FALSE(gemm_kernels_agree(wrong, scalar_kernel(wrong.group)));
}

INSTANTIATE_TEST_SUITE_P(AllKernels, AmxTest, testing::ValuesIn([] {
                           std::vector<const GemmKernel*> kernels;
                           for (const GemmKernel& kernel : kGemmAmxModel.list()) {
                             kernels.push_back(&kernel);
                           }
                           return kernels;
                         }()),
                         [](const auto& test) {
                           std::string name = test.param->name;
                           name[name.find('.')] = '_';
                           return name;
                         });

// The table of the product is that of the model, built without it.
TEST(Amx, BothBuildsHaveTheSameKernels) {
  ASSERT_EQ(kGemmAmx.num_kernels, kGemmAmxModel.num_kernels);
  for (int i = 0; i < kGemmAmx.num_kernels; ++i) {
    EXPECT_STREQ(kGemmAmx.kernels[i].name, kGemmAmxModel.kernels[i].name);
    EXPECT_EQ(kGemmAmx.kernels[i].group, kGemmAmxModel.kernels[i].group);
  }
}

}  // namespace
}  // namespace lanner
