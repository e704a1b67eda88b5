// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/gated_gemm.h"

#include <array>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/testing/random.h"

namespace lanner {
namespace {

constexpr int64_t kK = 192;

struct Weights {
  std::vector<float> values;
  PackedWeight packed;
};

// Gate and up [n, kK] each, as one part or as two, perhaps of different types.
Weights pack(int64_t n, bool one_part, std::optional<DType> dtype, ThreadPool& threads) {
  Weights w{random_normal(2 * n * kK, 1, 0.1f), {}};
  std::vector<Tensor> parts;
  if (one_part) {
    parts.emplace_back(w.values.data(), DType::kF32, Shape{2 * n, kK});
  } else {
    parts.emplace_back(w.values.data(), DType::kF32, Shape{n, kK});
    parts.emplace_back(w.values.data() + n * kK, DType::kF32, Shape{n, kK});
  }
  w.packed = PackedWeight::pack(parts, {.dtype = dtype}, threads);
  return w;
}

// The bits of the two ops, whatever the shape, the type, the split into parts and the threads.
TEST(GatedGemm, EqualsItsTwoOps) {
  for (int num_threads = 1; num_threads <= 4; ++num_threads) {
    ThreadPool threads(num_threads);
    for (const std::optional<DType> dtype :
         {std::optional<DType>{}, std::optional{DType::kBf16}, std::optional{DType::kW8A8},
          std::optional{DType::kI4}}) {
      for (const int64_t n : {1, 16, 40, 208}) {
        for (const bool one_part : {false, true}) {
          const Weights w = pack(n, one_part, dtype, threads);
          const std::vector<float> bias = random_normal(2 * n, 2);
          for (const int64_t m : {1, 3, 9, 70, 230}) {
            for (const float* some_bias : {static_cast<const float*>(nullptr), bias.data()}) {
              std::vector<float> x = random_normal(m * kK, 3);
              const Tensor x_tensor(x.data(), DType::kF32, {m, kK});
              std::vector<float> both(static_cast<size_t>(m * 2 * n));
              std::vector<float> expected(static_cast<size_t>(m * n));
              std::vector<float> actual(static_cast<size_t>(m * (n + 3)), -1.0f);
              Workspace workspace;
              const Tensor both_tensor(both.data(), DType::kF32, {m, 2 * n});
              gemm(x_tensor, w.packed, {.bias = some_bias}, both_tensor, workspace, threads);
              gated_activation(Activation::kSilu, both_tensor.columns(0, n),
                               both_tensor.columns(n, 2 * n),
                               Tensor(expected.data(), DType::kF32, {m, n}), threads);
              gated_gemm(x_tensor, w.packed, some_bias, Activation::kSilu,
                         Tensor(actual.data(), DType::kF32, {m, n}, n + 3), workspace, threads);
              for (int64_t row = 0; row < m; ++row) {
                const auto from = actual.begin() + row * (n + 3);
                ASSERT_EQ(std::vector<float>(from, from + n),
                          std::vector<float>(expected.begin() + row * n,
                                             expected.begin() + (row + 1) * n))
                    << "m=" << m << " n=" << n << " threads=" << num_threads << " one part "
                    << one_part;
                ASSERT_EQ(*(from + n), -1.0f);
              }
            }
          }
        }
      }
    }
  }
}

TEST(GatedGemm, RefusesShapesThatDoNotMatch) {
  ThreadPool threads(1);
  const Weights w = pack(16, false, {}, threads);
  std::vector<float> memory(static_cast<size_t>(4 * kK));
  Workspace workspace;
  const auto multiply = [&](int64_t k, int64_t n) {
    gated_gemm(Tensor(memory.data(), DType::kF32, {2, k}), w.packed, nullptr, Activation::kSilu,
               Tensor(memory.data(), DType::kF32, {2, n}), workspace, threads);
  };
  EXPECT_THROW(multiply(kK - 1, 16), Error);
  EXPECT_THROW(multiply(kK, 32), Error);
}

}  // namespace
}  // namespace lanner
