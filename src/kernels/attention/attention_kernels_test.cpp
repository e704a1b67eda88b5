// SPDX-License-Identifier: Apache-2.0
// Every kernel against the scalar one, part by part.
#include <cmath>
#include <cstring>
#include <random>

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

  KvLayout layout(int head_dim) const { return {kernel().kv_dtype, kPanel, 1, head_dim, head_dim}; }
  bool is_int8() const { return kernel().kv_dtype == DType::kI8; }

  // `count` panels, each of `bytes` of random elements and, in int8, sixteen scales.
  std::vector<std::byte> random_panels(int count, int64_t panel_bytes, uint32_t seed) const {
    std::vector<std::byte> data(static_cast<size_t>(count * panel_bytes));
    if (!is_int8()) {
      const int64_t elements = count * panel_bytes / dtype_info(kernel().kv_dtype).block_bytes;
      const std::vector<float> values = random_normal(elements, seed);
      for (int64_t i = 0; i < elements; ++i) {
        write_kv(kernel().kv_dtype, data.data(), i, values[static_cast<size_t>(i)]);
      }
      return data;
    }
    std::mt19937 generator(seed);
    for (std::byte& byte : data) byte = static_cast<std::byte>(generator());
    for (int p = 0; p < count; ++p) {
      for (int t = 0; t < kPanel; ++t) {
        const float scale = 0.01f + 0.001f * static_cast<float>(generator() % 10);
        const int64_t at = (p + 1) * panel_bytes + int64_t{t - kPanel} * 4;
        std::memcpy(data.data() + at, &scale, sizeof scale);
      }
    }
    return data;
  }

  // Panels apart in memory and out of order, as blocks are; then what is fetched ahead.
  static std::vector<const std::byte*> panels_of(const std::vector<std::byte>& data, int count,
                                                 int64_t panel_bytes) {
    std::vector<const std::byte*> panels;
    for (int p = 0; p < count; ++p) panels.push_back(data.data() + (count - 1 - p) * panel_bytes);
    panels.insert(panels.end(), kAttentionAhead, data.data());
    return panels;
  }

  // Queries that int8 with a scale per row holds exactly.
  static std::vector<float> random_queries(int rows, int head_dim, uint32_t seed) {
    std::mt19937 generator(seed);
    std::vector<float> q;
    for (int r = 0; r < rows; ++r) {
      for (int d = 0; d < head_dim; ++d) {
        const int value = d == r % head_dim ? 127 : static_cast<int>(generator() % 255) - 127;
        q.push_back(static_cast<float>(value) / 1024.0f);
      }
    }
    return q;
  }

  static std::vector<std::byte> packed(const AttentionKernel& kernel, const std::vector<float>& q,
                                       int rows, int head_dim, bool rotated = false) {
    std::vector<const float*> pointers;
    for (int r = 0; r < rows; ++r) pointers.push_back(q.data() + r * head_dim);
    std::vector<std::byte> queries(static_cast<size_t>(attention_query_bytes(rows, head_dim)));
    kernel.pack(pointers.data(), rows, head_dim, 1.0f, rotated, queries.data());
    return queries;
  }

  // The sixteen weights of a row in a panel, as numbers.
  static std::vector<float> weights_of(const AttentionKernel& kernel, const float* cell,
                                       const AttentionRowResult& result) {
    if (kernel.weights == AttentionWeights::kBf16) {
      std::vector<float> weights;
      for (int t = 0; t < kPanel; ++t) {
        weights.push_back(bf16_to_fp32(reinterpret_cast<const uint16_t*>(cell)[t]));
      }
      return weights;
    }
    if (kernel.weights != AttentionWeights::kFixed16) return {cell, cell + kPanel};
    const auto* bytes = reinterpret_cast<const uint8_t*>(cell);
    std::vector<float> weights;
    for (int t = 0; t < kPanel; ++t) {
      weights.push_back(static_cast<float>(bytes[t] + 256 * bytes[kPanel + t]) *
                        result.weight_scale);
    }
    return weights;
  }
  // Whole numbers below 65536 as the kernel's weights, each worth `worth`.
  static void set_weights(const AttentionKernel& kernel, float* cell,
                          const std::vector<int>& numbers, float worth) {
    for (int t = 0; t < kPanel; ++t) {
      const int number = numbers[static_cast<size_t>(t)];
      if (kernel.weights == AttentionWeights::kBf16) {
        write_kv(DType::kBf16, reinterpret_cast<std::byte*>(cell), t,
                 static_cast<float>(number) * worth);
      } else if (kernel.weights != AttentionWeights::kFixed16) {
        cell[t] = static_cast<float>(number) * worth;
      } else {
        reinterpret_cast<uint8_t*>(cell)[t] = static_cast<uint8_t>(number & 255);
        reinterpret_cast<uint8_t*>(cell)[kPanel + t] = static_cast<uint8_t>(number >> 8);
      }
    }
  }
};

TEST_P(AttentionKernelTest, ScoresEqualScalar) {
  for (int head_dim : {2, 6, 16, 64, 80}) {
    for (int num_panels : {1, 2, 3, 5, 8, 9}) {
      const int64_t panel_bytes = layout(head_dim).k_panel_bytes();
      const std::vector<std::byte> k = random_panels(num_panels, panel_bytes, 1);
      const auto panels = panels_of(k, num_panels, panel_bytes);
      for (int rows = 1; rows <= kernel().max_rows; ++rows) {
        const std::vector<float> q = random_queries(rows, head_dim, 2);
        std::vector<float> expected(static_cast<size_t>(num_panels * rows * kPanel)), actual;
        actual = expected;
        scalar().scores(packed(scalar(), q, rows, head_dim).data(), rows, head_dim, panels.data(),
                        num_panels, expected.data());
        kernel().scores(packed(kernel(), q, rows, head_dim).data(), rows, head_dim, panels.data(),
                        num_panels, actual.data());
        ASSERT_THAT(actual, is_close_to(expected, tolerance::kReduction))
            << head_dim << " " << num_panels << " " << rows;
      }
    }
  }
}

TEST_P(AttentionKernelTest, PackRotatesTheQueries) {
  for (int head_dim : {6, 64, 80}) {
    const int64_t panel_bytes = layout(head_dim).k_panel_bytes();
    const std::vector<std::byte> k = random_panels(1, panel_bytes, 1);
    const auto panels = panels_of(k, 1, panel_bytes);
    const int rows = kernel().max_rows;
    const std::vector<float> q = random_queries(rows, head_dim, 3);
    std::vector<float> rotated_twice;
    for (int r = 0; r < rows; ++r) {
      std::vector<float> row(q.begin() + r * head_dim, q.begin() + (r + 1) * head_dim);
      hadamard(row.data(), head_dim);
      rotated_twice.insert(rotated_twice.end(), row.begin(), row.end());
    }
    std::vector<float> expected(static_cast<size_t>(rows * kPanel)), actual = expected;
    kernel().scores(packed(kernel(), q, rows, head_dim).data(), rows, head_dim, panels.data(), 1,
                    expected.data());
    kernel().scores(packed(kernel(), rotated_twice, rows, head_dim, true).data(), rows, head_dim,
                    panels.data(), 1, actual.data());
    // Rounding of the rotation may move an int8 query by a unit.
    ASSERT_THAT(actual, is_close_to(expected, is_int8() ? tolerance::kBf16 : tolerance::kReduction))
        << head_dim;
  }
}

TEST_P(AttentionKernelTest, SoftmaxEqualsScalar) {
  for (int num_panels : {1, 2, 3, 7}) {
    const int columns = num_panels * kPanel;
    const int64_t panel_bytes = layout(8).v_panel_bytes();
    const std::vector<std::byte> v = random_panels(num_panels, panel_bytes, 1);
    const auto panels = panels_of(v, num_panels, panel_bytes);
    for (int rows : {1, 3}) {
      for (int begin : {0, 1, 7, 8, 15, 16, 17, 40}) {
        for (int end : {0, 1, 8, 9, 15, 16, 17, 31, 33, columns - 1, columns}) {
          for (int feature = 0; feature < 4; ++feature) {
            if (begin > columns || end > columns) continue;
            AttentionRow row{.begin = begin, .end = end, .distance = -columns};
            row.v_panels = panels.data();
            row.v_scale_offset = layout(8).v_scale_offset();
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
            AttentionRowResult expected_result, result;
            scalar().softmax(expected.data(), stride, num_panels, row, &expected_result);
            kernel().softmax(actual.data(), stride, num_panels, row, &result);
            const Tolerance fixed{2e-6, 1e-5};
            const Tolerance bf16{1e-6, 4e-3};
            const AttentionWeights weights = kernel().weights;
            for (int p = 0; p < num_panels; ++p) {
              const float* cell = expected.data() + p * stride;
              ASSERT_THAT(
                  weights_of(kernel(), actual.data() + p * stride, result),
                  is_close_to({cell, cell + kPanel}, weights == AttentionWeights::kFixed16 ? fixed
                                                     : weights == AttentionWeights::kBf16
                                                         ? bf16
                                                         : tolerance::kTranscendental))
                  << num_panels << " " << begin << " " << end << " " << feature;
              // The rows beside it stay as they are.
              for (int i = kPanel; i < stride; ++i) ASSERT_EQ(actual[p * stride + i], cell[i]);
            }
            ASSERT_THAT(std::vector<float>{result.sum},
                        is_close_to({expected_result.sum}, tolerance::kReduction));
            if (begin >= end) {
              ASSERT_EQ(result.max, -INFINITY);
            } else {
              ASSERT_THAT(std::vector<float>{result.max},
                          is_close_to({expected_result.max}, tolerance::kTranscendental));
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
    const float worth = is_int8() ? 1.0f / (65536.0f * 127.0f) : 1.0f / 65536.0f;
    // Exactly as long as needed: reading past a row's end shows under a sanitizer.
    const int64_t panel_bytes = layout(v_head_dim).v_panel_bytes();
    const std::vector<std::byte> v = random_panels(kPanels, panel_bytes, 1);
    const auto panels = panels_of(v, kPanels, panel_bytes);
    for (int rows = 1; rows <= kernel().max_rows; ++rows) {
      for (const auto& [first, last] :
           {std::pair{0, 48}, {0, 1}, {5, 6}, {3, 17}, {16, 32}, {20, 47}}) {
        std::mt19937 generator(2);
        std::vector<float> tile(static_cast<size_t>(kPanels * rows * kPanel));
        std::vector<float> expected_tile = tile;
        for (int cell = 0; cell < kPanels * rows; ++cell) {
          std::vector<int> numbers;
          for (int t = 0; t < kPanel; ++t) {
            const int token = cell / rows * kPanel + t;
            // bf16 holds eight bits of it.
            const int number = static_cast<int>(generator() % 65536) &
                               (kernel().weights == AttentionWeights::kBf16 ? 0xff00 : 0xffff);
            numbers.push_back(token >= first && token < last ? number : 0);
          }
          set_weights(kernel(), tile.data() + cell * kPanel, numbers, worth);
          set_weights(scalar(), expected_tile.data() + cell * kPanel, numbers, worth);
        }
        const std::vector<AttentionRowResult> results(static_cast<size_t>(rows),
                                                      {.weight_scale = worth});
        std::vector<float> expected = random_normal(int64_t{rows} * stride, 3);
        std::vector<float> actual = expected;
        scalar().values(expected_tile.data(), rows, panels.data(), first, last, v_head_dim,
                        results.data(), expected.data(), stride);
        kernel().values(tile.data(), rows, panels.data(), first, last, v_head_dim, results.data(),
                        actual.data(), stride);
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
  constexpr int kHeadDim = 34, kPanels = 7, kStride = 48;
  const KvLayout layout = this->layout(kHeadDim);
  const std::vector<std::byte> keys = random_panels(kPanels, layout.k_panel_bytes(), 1);
  const std::vector<std::byte> values = random_panels(kPanels, layout.v_panel_bytes(), 2);
  const auto k_panels = panels_of(keys, kPanels, layout.k_panel_bytes());
  const auto v_panels = panels_of(values, kPanels, layout.v_panel_bytes());
  const std::vector<float> query = random_normal(kHeadDim, 2, /*deviation=*/0.1f);
  const auto sums_of = [&](int rows) {
    std::vector<float> q, tile(static_cast<size_t>(kPanels * rows * kPanel));
    for (int r = 0; r < rows; ++r) q.insert(q.end(), query.begin(), query.end());
    std::vector<AttentionRowResult> results(static_cast<size_t>(rows));
    std::vector<float> sums(static_cast<size_t>(rows * kStride));
    kernel().scores(packed(kernel(), q, rows, kHeadDim).data(), rows, kHeadDim, k_panels.data(),
                    kPanels, tile.data());
    AttentionRow row{.begin = 0, .end = kPanels * kPanel};
    row.v_panels = v_panels.data();
    row.v_scale_offset = layout.v_scale_offset();
    for (int r = 0; r < rows; ++r) {
      kernel().softmax(tile.data() + r * kPanel, int64_t{rows} * kPanel, kPanels, row,
                       &results[static_cast<size_t>(r)]);
    }
    kernel().values(tile.data(), rows, v_panels.data(), 0, kPanels * kPanel, kHeadDim,
                    results.data(), sums.data(), kStride);
    for (int r = 0; r < rows; ++r) {
      sums.push_back(results[static_cast<size_t>(r)].max);
      sums.push_back(results[static_cast<size_t>(r)].sum);
    }
    return sums;
  };
  const std::vector<float> alone = sums_of(1);
  for (int rows = 2; rows <= kernel().max_rows; ++rows) {
    const std::vector<float> sums = sums_of(rows);
    for (int r = 0; r < rows; ++r) {
      for (int j = 0; j < kHeadDim; ++j) {
        ASSERT_EQ(sums[static_cast<size_t>(r * kStride + j)], alone[static_cast<size_t>(j)]);
      }
      const auto tail = static_cast<size_t>(rows * kStride + 2 * r);
      ASSERT_EQ(sums[tail], alone[kStride]);
      ASSERT_EQ(sums[tail + 1], alone[kStride + 1]);
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
  const Isa avx512{Isa::kAvx2, Isa::kAvx512};
  EXPECT_STREQ(select_attention(DType::kBf16, avx512 | Isa{Isa::kAvx512Bf16}).name, "avx512_bf16");
  EXPECT_STREQ(select_attention(DType::kF16, avx512 | Isa{Isa::kAvx512Bf16}).name, "avx512");
  EXPECT_STREQ(select_attention(DType::kI8, Isa{}).name, "scalar");
  EXPECT_STREQ(select_attention(DType::kI8, Isa{Isa::kAvx2}).name, "avx2");
  EXPECT_STREQ(select_attention(DType::kI8, Isa{Isa::kAvx2, Isa::kAvxVnni}).name, "avx_vnni");
  EXPECT_STREQ(select_attention(DType::kI8, avx512).name, "avx512");
  EXPECT_STREQ(select_attention(DType::kI8, avx512 | Isa{Isa::kAvx512Vnni}).name, "avx512_vnni");
  EXPECT_THROW(select_attention(DType::kQ8_0), Error);
}

}  // namespace
}  // namespace lanner
