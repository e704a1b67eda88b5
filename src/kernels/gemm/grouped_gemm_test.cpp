// SPDX-License-Identifier: Apache-2.0
// A grouped GEMM equals one GEMM per group bit by bit, whatever the sizes of the groups: gemm_test
// compares those with double precision.
#include "kernels/gemm/grouped_gemm.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/testing/random.h"
#include "kernels/testing/matrix.h"

namespace lanner {
namespace {

constexpr int kExperts = 5;

// Gate and up of every expert, as a mixture packs them.
struct Weights {
  Weights(int64_t rows, int64_t columns)
      : n(rows), k(columns), values(random_normal(kExperts * 2 * n * k, 1)) {}

  Tensor part(int i) { return Tensor(values.data() + i * n * k, DType::kF32, Shape{n, k}); }
  PackedWeight pack(int begin, int end, std::optional<DType> dtype, ThreadPool& threads) {
    std::vector<Tensor> parts;
    for (int i = begin; i < end; ++i) parts.push_back(part(i));
    return PackedWeight::pack(parts, {.dtype = dtype}, threads);
  }

  int64_t n;
  int64_t k;
  std::vector<float> values;
};

// Expert e gets sizes[e] rows of x, in an order of their own if gathered.
void expect_one_gemm_per_group(int64_t n, int64_t k, std::optional<DType> dtype,
                               const std::vector<int64_t>& sizes, bool gathered, bool with_bias,
                               int num_threads) {
  ThreadPool threads(num_threads);
  Workspace workspace;
  Weights weights(n, k);
  const std::vector<float> bias = random_normal(kExperts * 2 * n, 3);
  const PackedWeight packed = weights.pack(0, 2 * kExperts, dtype, threads);
  int64_t total = 0;
  for (const int64_t rows : sizes) total += rows;
  TestMatrix x = TestMatrix::random(gathered ? 7 : total, k, 2);
  TestMatrix y(total, 2 * n);
  std::vector<int32_t> x_rows;
  for (int64_t r = 0; r < total; ++r) {
    x_rows.push_back(static_cast<int32_t>(gathered ? r * 5 % 7 : r));
  }
  std::vector<GemmGroupItem> items;
  int64_t row = 0;
  for (size_t e = 0; e < sizes.size(); ++e) {
    const int part = static_cast<int>(e) * 2;
    GemmGroupItem item{.part_begin = part, .part_end = part + 2};
    item.x = gathered ? x.tensor() : x.tensor().rows(row, row + sizes[e]);
    if (gathered) item.x_rows = std::span(x_rows).subspan(row, sizes[e]);
    item.y = y.tensor().rows(row, row + sizes[e]);
    row += sizes[e];
    if (sizes[e] > 0) items.push_back(item);
  }
  grouped_gemm(items, packed, with_bias ? bias.data() : nullptr, workspace, threads);
  EXPECT_TRUE(y.gaps_are_untouched());

  row = 0;
  for (size_t e = 0; e < sizes.size(); ++e) {
    if (sizes[e] == 0) continue;
    const int part = static_cast<int>(e) * 2;
    const PackedWeight alone = weights.pack(part, part + 2, dtype, threads);
    TestMatrix own(sizes[e], k);
    TestMatrix expected(sizes[e], 2 * n);
    for (int64_t r = 0; r < sizes[e]; ++r) {
      std::copy_n(x.row(x_rows[static_cast<size_t>(row + r)]).begin(), k, own.row(r).begin());
    }
    gemm(own.tensor(), alone,
         {.bias = with_bias ? bias.data() + part * n : nullptr, .accumulate = false},
         expected.tensor(), workspace, threads);
    for (int64_t r = 0; r < sizes[e]; ++r, ++row) {
      ASSERT_TRUE(std::ranges::equal(y.row(row), expected.row(r))) << "row " << row;
    }
  }
}

// The heads of one matrix: each group reads and writes columns of its own.
TEST(GroupedGemm, GroupsMayBeColumns) {
  constexpr int64_t kN = 24, kK = 40, kRows = 33;
  ThreadPool threads(3);
  Workspace workspace;
  Weights weights(kN, kK);
  const PackedWeight packed = weights.pack(0, kExperts, std::nullopt, threads);
  TestMatrix x = TestMatrix::random(kRows, kExperts * kK, 1);
  TestMatrix y(kRows, kExperts * kN);
  std::vector<GemmGroupItem> items;
  for (int i = 0; i < kExperts; ++i) {
    items.push_back({.part_begin = i,
                     .part_end = i + 1,
                     .x = x.tensor().columns(i * kK, (i + 1) * kK),
                     .x_rows = {},
                     .y = y.tensor().columns(i * kN, (i + 1) * kN)});
  }
  grouped_gemm(items, packed, nullptr, workspace, threads);
  EXPECT_TRUE(y.gaps_are_untouched());
  for (int i = 0; i < kExperts; ++i) {
    TestMatrix expected(kRows, kN);
    gemm(items[static_cast<size_t>(i)].x, weights.pack(i, i + 1, std::nullopt, threads), {},
         expected.tensor(), workspace, threads);
    for (int64_t r = 0; r < kRows; ++r) {
      ASSERT_TRUE(
          std::ranges::equal(y.row(r).subspan(static_cast<size_t>(i * kN), kN), expected.row(r)));
    }
  }
}

TEST(GroupedGemm, EqualsOneGemmPerGroup) {
  const std::vector<std::vector<int64_t>> sizes = {
      {1, 0, 1, 0, 1},      // decode
      {2, 17, 0, 3, 1},     // unequal
      {0, 0, 150, 0, 0},    // all tokens to one expert
      {30, 41, 12, 64, 5},  // a prompt
  };
  for (std::optional<DType> dtype : std::vector<std::optional<DType>>{
           DType::kF32, DType::kBf16, DType::kW8A8, DType::kI8, DType::kI4}) {
    for (const auto& rows : sizes) {
      for (int threads : {1, 3}) {
        SCOPED_TRACE(fmt::format("{}, {} rows of expert 1, {} threads", *dtype, rows[1], threads));
        expect_one_gemm_per_group(40, 72, dtype, rows, /*gathered=*/true, /*with_bias=*/true,
                                  threads);
        expect_one_gemm_per_group(200, 129, dtype, rows, /*gathered=*/false, /*with_bias=*/false,
                                  threads);
      }
    }
  }
}

TEST(GroupedGemm, NoGroupsAreNoWork) {
  ThreadPool threads(2);
  Workspace workspace;
  Weights weights(16, 32);
  grouped_gemm({}, weights.pack(0, 2, std::nullopt, threads), nullptr, workspace, threads);
}

TEST(GroupedGemm, WrongShapesAreRefused) {
  ThreadPool threads(1);
  Workspace workspace;
  Weights weights(16, 32);
  const PackedWeight packed = weights.pack(0, 4, std::nullopt, threads);
  TestMatrix x = TestMatrix::random(2, 32, 1);
  TestMatrix y(2, 32);
  TestMatrix narrow(2, 16);
  const auto run = [&](std::vector<int32_t> x_rows, int part_begin, int part_end, TestMatrix& in,
                       TestMatrix& out) {
    const GemmGroupItem item{part_begin, part_end, in.tensor(), x_rows, out.tensor()};
    grouped_gemm({&item, 1}, packed, nullptr, workspace, threads);
  };
  run({0, 1}, 0, 2, x, y);
  run({}, 2, 4, x, y);
  EXPECT_THROW(run({0, 2}, 0, 2, x, y), Error);  // rows
  EXPECT_THROW(run({0}, 0, 2, x, y), Error);
  EXPECT_THROW(run({}, 2, 5, x, y), Error);  // parts
  EXPECT_THROW(run({}, 1, 1, x, y), Error);
  EXPECT_THROW(run({}, 0, 2, x, narrow), Error);  // columns
  EXPECT_THROW(run({}, 0, 2, narrow, y), Error);
}

}  // namespace
}  // namespace lanner
