// SPDX-License-Identifier: Apache-2.0
// A grouped GEMM equals one GEMM per group bit by bit, whatever the sizes of the groups: gemm_test
// compares those with double precision.
#include "kernels/gemm/grouped_gemm.h"

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

// Rows of each expert: many, none, one, ...
std::vector<GemmRowGroup> row_groups(const std::vector<int64_t>& sizes) {
  std::vector<GemmRowGroup> groups;
  int64_t row = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const int part = static_cast<int>(i) * 2;
    groups.push_back({part, part + 2, row, row + sizes[i]});
    row += sizes[i];
  }
  return groups;
}

void expect_one_gemm_per_group(int64_t n, int64_t k, std::optional<DType> dtype,
                               const std::vector<int64_t>& sizes, bool gathered, bool with_bias,
                               int num_threads) {
  ThreadPool threads(num_threads);
  Workspace workspace;
  Weights weights(n, k);
  const std::vector<GemmRowGroup> groups = row_groups(sizes);
  const int64_t rows = groups.back().row_end;
  const int64_t source_rows = gathered ? 7 : rows;
  TestMatrix x = TestMatrix::random(source_rows, k, 2);
  TestMatrix y(rows, 2 * n);
  std::vector<int32_t> x_rows;
  for (int64_t r = 0; gathered && r < rows; ++r) {
    x_rows.push_back(static_cast<int32_t>(r * 5 % source_rows));
  }
  const std::vector<float> bias = random_normal(kExperts * 2 * n, 3);
  const PackedWeight packed = weights.pack(0, 2 * kExperts, dtype, threads);
  grouped_gemm(x.tensor(), x_rows, packed, groups, with_bias ? bias.data() : nullptr, y.tensor(),
               workspace, threads);
  EXPECT_TRUE(y.gaps_are_untouched());

  for (const GemmRowGroup& g : groups) {
    if (g.row_begin == g.row_end) continue;
    const PackedWeight alone = weights.pack(g.part_begin, g.part_end, dtype, threads);
    TestMatrix own(g.row_end - g.row_begin, k);
    TestMatrix expected(g.row_end - g.row_begin, 2 * n);
    for (int64_t r = g.row_begin; r < g.row_end; ++r) {
      const int64_t source = gathered ? x_rows[static_cast<size_t>(r)] : r;
      std::copy_n(x.row(source).begin(), k, own.row(r - g.row_begin).begin());
    }
    gemm(own.tensor(), alone,
         {.bias = with_bias ? bias.data() + g.part_begin * n : nullptr, .accumulate = false},
         expected.tensor(), workspace, threads);
    for (int64_t r = g.row_begin; r < g.row_end; ++r) {
      for (int64_t j = 0; j < 2 * n; ++j) {
        ASSERT_EQ(y.row(r)[static_cast<size_t>(j)],
                  expected.row(r - g.row_begin)[static_cast<size_t>(j)])
            << "row " << r << ", column " << j;
      }
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
  for (std::optional<DType> dtype :
       std::vector<std::optional<DType>>{DType::kF32, DType::kBf16, DType::kI8, DType::kI4}) {
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

TEST(GroupedGemm, NoRowsAreNoWork) {
  ThreadPool threads(2);
  Workspace workspace;
  Weights weights(16, 32);
  const PackedWeight packed = weights.pack(0, 2, std::nullopt, threads);
  TestMatrix x = TestMatrix::random(1, 32, 1);
  TestMatrix y(1, 32);
  grouped_gemm(x.tensor(), {}, packed, {}, nullptr, y.tensor(), workspace, threads);
  EXPECT_EQ(y.row(0)[0], TestMatrix::kGap);
}

TEST(GroupedGemm, WrongShapesAreRefused) {
  ThreadPool threads(1);
  Workspace workspace;
  Weights weights(16, 32);
  const PackedWeight packed = weights.pack(0, 4, std::nullopt, threads);
  TestMatrix x = TestMatrix::random(2, 32, 1);
  TestMatrix y(2, 32);
  TestMatrix narrow(2, 16);
  const auto run = [&](std::vector<int32_t> x_rows, GemmRowGroup group, TestMatrix& out) {
    grouped_gemm(x.tensor(), x_rows, packed, {&group, 1}, nullptr, out.tensor(), workspace,
                 threads);
  };
  run({0, 1}, {0, 2, 0, 2}, y);
  EXPECT_THROW(run({0, 2}, {0, 2, 0, 2}, y), Error);
  EXPECT_THROW(run({0}, {0, 2, 0, 1}, y), Error);
  EXPECT_THROW(run({}, {0, 2, 0, 3}, y), Error);
  EXPECT_THROW(run({}, {2, 5, 0, 2}, y), Error);
  EXPECT_THROW(run({}, {1, 1, 0, 2}, y), Error);
  EXPECT_THROW(run({}, {0, 2, 0, 2}, narrow), Error);
}

}  // namespace
}  // namespace lanner
