// SPDX-License-Identifier: Apache-2.0
// Every kernel against the scalar one, part by part.
#include <cmath>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/testing/random.h"
#include "base/testing/tolerance.h"
#include "kernels/attention/kernels.h"
#include "kernels/attention/testing/cases.h"

namespace lanner {
namespace {

constexpr int kPanel = KvLayout::kPanelTokens;

class AttentionKernelTest : public testing::TestWithParam<const AttentionKernel*> {
 protected:
  void SetUp() override {
    if (!cpu_isa().has(GetParam()->needs)) {
      GTEST_SKIP() << "this CPU lacks " << GetParam()->needs.to_string();
    }
  }
  const AttentionKernel& kernel() const { return *GetParam(); }
  const AttentionKernel& scalar() const { return select_attention(kernel().kv_dtype, Isa{}); }

  // `elements` random values in the KV type.
  std::vector<std::byte> random_kv(int64_t elements, uint32_t seed) const {
    std::vector<std::byte> data(static_cast<size_t>(elements * bytes()));
    const std::vector<float> values = random_normal(elements, seed);
    for (int64_t i = 0; i < elements; ++i) {
      write_kv(kernel().kv_dtype, data.data(), i, values[static_cast<size_t>(i)]);
    }
    return data;
  }
  int64_t bytes() const { return dtype_info(kernel().kv_dtype).block_bytes; }

  // Panels apart in memory and out of order, as blocks are.
  static std::vector<const std::byte*> panels_of(const std::vector<std::byte>& data, int count,
                                                 int64_t panel_bytes) {
    std::vector<const std::byte*> panels;
    for (int p = 0; p < count; ++p) panels.push_back(data.data() + (count - 1 - p) * panel_bytes);
    return panels;
  }
};

TEST_P(AttentionKernelTest, ScoresEqualScalar) {
  for (int head_dim : {2, 6, 16, 64, 80}) {
    for (int num_panels : {1, 2, 3, 5, 8, 9}) {
      const std::vector<std::byte> k = random_kv(int64_t{num_panels} * kPanel * head_dim, 1);
      const auto panels = panels_of(k, num_panels, int64_t{kPanel} * head_dim * bytes());
      for (int rows = 1; rows <= kernel().max_rows; ++rows) {
        const std::vector<float> q = random_normal(int64_t{rows} * head_dim, 2, /*deviation=*/0.1f);
        std::vector<float> expected(static_cast<size_t>(num_panels * rows * kPanel)), actual;
        actual = expected;
        scalar().scores(q.data(), rows, head_dim, panels.data(), num_panels, expected.data());
        kernel().scores(q.data(), rows, head_dim, panels.data(), num_panels, actual.data());
        ASSERT_THAT(actual, is_close_to(expected, tolerance::kReduction))
            << head_dim << " " << num_panels << " " << rows;
      }
    }
  }
}

TEST_P(AttentionKernelTest, SoftmaxEqualsScalar) {
  for (int num_panels : {1, 2, 3, 7}) {
    const int columns = num_panels * kPanel;
    for (int rows : {1, 3}) {
      for (int begin : {0, 1, 7, 8, 15, 16, 17, 40}) {
        for (int end : {0, 1, 8, 9, 15, 16, 17, 31, 33, columns - 1, columns}) {
          for (int feature = 0; feature < 4; ++feature) {
            if (begin > columns || end > columns) continue;
            AttentionRow row{begin, end, 0, 0, -columns};
            if (feature & 1) row.soft_cap = 1.5f;
            if (feature & 2) row.slope = 0.25f;
            const int64_t stride = int64_t{rows} * kPanel;
            std::vector<float> expected = random_normal(num_panels * stride, 3, 2.0f);
            // Columns that the row must not look at may hold anything.
            for (int i = 0; i < columns; ++i) {
              if (i >= begin && i < end) continue;
              expected[static_cast<size_t>(i / kPanel * stride + i % kPanel)] = NAN;
            }
            std::vector<float> actual = expected;
            float expected_max, expected_sum, max, sum;
            scalar().softmax(expected.data(), stride, num_panels, row, &expected_max,
                             &expected_sum);
            kernel().softmax(actual.data(), stride, num_panels, row, &max, &sum);
            ASSERT_THAT(actual, is_close_to(expected, tolerance::kTranscendental))
                << num_panels << " " << begin << " " << end << " " << feature;
            ASSERT_THAT(std::vector<float>{sum},
                        is_close_to(std::vector<float>{expected_sum}, tolerance::kReduction));
            if (begin >= end) {
              ASSERT_EQ(max, -INFINITY);
            } else {
              ASSERT_THAT(std::vector<float>{max}, is_close_to(std::vector<float>{expected_max},
                                                               tolerance::kTranscendental));
            }
          }
        }
      }
    }
  }
}

TEST_P(AttentionKernelTest, ValuesEqualScalarAndAddToTheSums) {
  for (int v_head_dim : {1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 33, 48, 64, 65, 80, 128, 144}) {
    const int stride = (v_head_dim + 15) / 16 * 16;
    constexpr int kPanels = 3;
    // Exactly as long as needed: reading past a row's end shows under a sanitizer.
    const std::vector<std::byte> v = random_kv(int64_t{kPanels} * kPanel * v_head_dim, 1);
    const auto panels = panels_of(v, kPanels, int64_t{kPanel} * v_head_dim * bytes());
    for (int rows = 1; rows <= kernel().max_rows; ++rows) {
      const std::vector<float> tile = random_normal(int64_t{kPanels} * rows * kPanel, 2);
      for (const auto& [first, last] :
           {std::pair{0, 48}, {0, 1}, {5, 6}, {3, 17}, {16, 32}, {20, 47}}) {
        std::vector<float> expected = random_normal(int64_t{rows} * stride, 3);
        std::vector<float> actual = expected;
        scalar().values(tile.data(), rows, panels.data(), first, last, v_head_dim, expected.data(),
                        stride);
        kernel().values(tile.data(), rows, panels.data(), first, last, v_head_dim, actual.data(),
                        stride);
        // What lies between v_head_dim and the stride is of no account.
        for (int r = 0; r < rows; ++r) {
          for (int j = v_head_dim; j < stride; ++j) {
            actual[static_cast<size_t>(r * stride + j)] =
                expected[static_cast<size_t>(r * stride + j)];
          }
        }
        ASSERT_THAT(actual, is_close_to(expected, tolerance::kReduction))
            << v_head_dim << " " << rows << " " << first << " " << last;
      }
    }
  }
}

TEST_P(AttentionKernelTest, MergeEqualsScalar) {
  for (int n : {16, 32, 80}) {
    const std::vector<float> y = random_normal(n, 1);
    std::vector<float> expected = random_normal(n, 2), actual = expected;
    scalar().merge(expected.data(), 0.3f, y.data(), 0.7f, n);
    kernel().merge(actual.data(), 0.3f, y.data(), 0.7f, n);
    EXPECT_THAT(actual, is_close_to(expected, tolerance::kElementwise));
  }
}

// What lets the op cut its work as it likes.
TEST_P(AttentionKernelTest, ARowHasTheSameBitsInAnyTile) {
  constexpr int kHeadDim = 34, kPanels = 7;
  const std::vector<std::byte> kv = random_kv(int64_t{kPanels} * kPanel * kHeadDim, 1);
  const auto panels = panels_of(kv, kPanels, int64_t{kPanel} * kHeadDim * bytes());
  const std::vector<float> query = random_normal(kHeadDim, 2, /*deviation=*/0.1f);
  std::vector<float> alone(kPanels * kPanel), sums_alone(48);
  kernel().scores(query.data(), 1, kHeadDim, panels.data(), kPanels, alone.data());
  kernel().values(alone.data(), 1, panels.data(), 0, kPanels * kPanel, kHeadDim, sums_alone.data(),
                  48);
  for (int rows = 2; rows <= kernel().max_rows; ++rows) {
    std::vector<float> q, tile(static_cast<size_t>(kPanels * rows * kPanel));
    for (float value : query) q.insert(q.end(), static_cast<size_t>(rows), value);
    kernel().scores(q.data(), rows, kHeadDim, panels.data(), kPanels, tile.data());
    std::vector<float> sums(static_cast<size_t>(rows * 48));
    kernel().values(tile.data(), rows, panels.data(), 0, kPanels * kPanel, kHeadDim, sums.data(),
                    48);
    for (int r = 0; r < rows; ++r) {
      for (int i = 0; i < kPanels * kPanel; ++i) {
        ASSERT_EQ(tile[static_cast<size_t>((i / kPanel * rows + r) * kPanel + i % kPanel)],
                  alone[static_cast<size_t>(i)]);
      }
      for (int j = 0; j < kHeadDim; ++j) {
        ASSERT_EQ(sums[static_cast<size_t>(r * 48 + j)], sums_alone[static_cast<size_t>(j)]);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllKernels, AttentionKernelTest, testing::ValuesIn(attention_kernels()),
                         [](const auto& test) {
                           return std::string(test.param->name) + "_" +
                                  dtype_name(test.param->kv_dtype);
                         });

TEST(SelectAttention, TakesTheBestTheCpuHas) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBf16}) {
    EXPECT_STREQ(select_attention(dtype, Isa{}).name, "scalar");
    EXPECT_STREQ(select_attention(dtype, Isa{Isa::kAvx2}).name, "avx2");
    EXPECT_STREQ(select_attention(dtype, Isa{Isa::kAvx2, Isa::kAvx512}).name, "avx512");
    EXPECT_EQ(select_attention(dtype, Isa{}).kv_dtype, dtype);
  }
  EXPECT_THROW(select_attention(DType::kI8), Error);
}

}  // namespace
}  // namespace lanner
