// SPDX-License-Identifier: Apache-2.0
#include "kernels/kv_store/kv_store.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include <gtest/gtest.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/float16.h"
#include "base/testing/random.h"
#include "kernels/kv_store/kernels.h"
#include "kernels/testing/matrix.h"

namespace lanner {
namespace {

constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBf16};

// `x` as the cache's type has it, back in fp32.
float rounded(DType dtype, float x) {
  if (dtype == DType::kF16) return fp16_to_fp32(fp32_to_fp16(x));
  if (dtype == DType::kBf16) return bf16_to_fp32(fp32_to_bf16(x));
  return x;
}

float read(DType dtype, const std::byte* data, int64_t element) {
  if (dtype == DType::kF32) {
    float value;
    std::memcpy(&value, data + element * 4, 4);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, data + element * 2, 2);
  return dtype == DType::kF16 ? fp16_to_fp32(bits) : bf16_to_fp32(bits);
}

class KvStoreKernelTest : public testing::TestWithParam<const KvStoreKernel*> {
 protected:
  void SetUp() override {
    if (!cpu_isa().has(GetParam()->needs)) {
      GTEST_SKIP() << "this CPU lacks " << GetParam()->needs.to_string();
    }
  }
};

TEST_P(KvStoreKernelTest, RoundsToNearestEvenIntoTheLayoutAndWritesNothingElse) {
  const KvStoreKernel& kernel = *GetParam();
  for (int head_dim : {2, 6, 8, 14, 16, 18, 30, 32, 34, 64, 80, 128}) {
    SCOPED_TRACE(head_dim);
    KvLayout layout{kernel.dtype, 16, 1, head_dim, head_dim};
    std::vector<float> x = random_normal(head_dim, /*seed=*/1, /*deviation=*/100.0f);
    x[0] = 1.00390625f;  // between two bf16 values
    x[1] = 1e-7f;        // subnormal in fp16
    const auto bytes = static_cast<size_t>(layout.k_bytes());
    const int lane = 5;
    std::vector<std::byte> keys(bytes, std::byte{0x5a}), values = keys, expected_keys = keys,
                                                         expected_values = keys;
    const int64_t element_bytes = layout.element_bytes();
    const KvStoreKernel& scalar = select_kv_store(kernel.dtype, Isa{});
    scalar.key(x.data(), head_dim,
               expected_keys.data() + layout.k_element(lane, 0) * element_bytes);
    scalar.value(x.data(), head_dim, expected_values.data());
    kernel.key(x.data(), head_dim, keys.data() + layout.k_element(lane, 0) * element_bytes);
    kernel.value(x.data(), head_dim, values.data());

    EXPECT_EQ(keys, expected_keys);
    EXPECT_EQ(values, expected_values);
    for (int d = 0; d < head_dim; ++d) {
      const float expected = rounded(kernel.dtype, x[static_cast<size_t>(d)]);
      EXPECT_EQ(read(kernel.dtype, keys.data(), layout.k_element(lane, d)), expected);
      EXPECT_EQ(read(kernel.dtype, values.data(), d), expected);
    }
    EXPECT_EQ(values.size() - static_cast<size_t>(head_dim * element_bytes),
              static_cast<size_t>(
                  std::count(values.begin() + static_cast<std::ptrdiff_t>(head_dim * element_bytes),
                             values.end(), std::byte{0x5a})));
  }
}

TEST_P(KvStoreKernelTest, KeepsInfinityAndNan) {
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> x(18, 0.0f);
  x[0] = infinity;
  x[1] = -infinity;
  x[2] = std::numeric_limits<float>::quiet_NaN();
  x[3] = 3e38f;  // fp16: infinity
  std::vector<std::byte> row(18 * 4);
  GetParam()->value(x.data(), 18, row.data());
  const DType dtype = GetParam()->dtype;
  EXPECT_EQ(read(dtype, row.data(), 0), infinity);
  EXPECT_EQ(read(dtype, row.data(), 1), -infinity);
  EXPECT_NE(read(dtype, row.data(), 2), read(dtype, row.data(), 2));
  EXPECT_EQ(read(dtype, row.data(), 3), rounded(dtype, 3e38f));
}

INSTANTIATE_TEST_SUITE_P(AllKernels, KvStoreKernelTest, testing::ValuesIn(kv_store_kernels()),
                         [](const auto& test) {
                           return std::string(test.param->name) + "_" +
                                  dtype_name(test.param->dtype);
                         });

TEST(KvStore, PutsEveryTokenIntoItsSlot) {
  constexpr int kTokens = 101, kBlocks = 9;
  for (DType dtype : kDTypes) {
    for (int v_head_dim : {24, 17}) {
      const KvLayout layout{dtype, 32, 3, 24, v_head_dim};
      TestMatrix k = TestMatrix::random(kTokens, 3 * 24, /*seed=*/1);
      TestMatrix v = TestMatrix::random(kTokens, 3 * v_head_dim, /*seed=*/2);
      std::vector<int64_t> slots;
      for (int t = 0; t < kTokens; ++t) slots.push_back((t * 71 + 13) % (kBlocks * 32));
      for (int num_threads = 1; num_threads <= 4; ++num_threads) {
        SCOPED_TRACE(testing::Message() << dtype_name(dtype) << " v_head_dim " << v_head_dim
                                        << " threads " << num_threads);
        ThreadPool threads(num_threads);
        Buffer memory(static_cast<size_t>(layout.block_bytes() * kBlocks));
        kv_store(k.tensor(), v.tensor(), slots, {layout, memory.data(), kBlocks}, threads);
        for (int t = 0; t < kTokens; ++t) {
          const int64_t slot = slots[static_cast<size_t>(t)];
          const std::byte* block = memory.data() + slot / 32 * layout.block_bytes();
          const int offset = static_cast<int>(slot % 32);
          for (int head = 0; head < 3; ++head) {
            for (int d = 0; d < 24; ++d) {
              ASSERT_EQ(read(dtype, block + layout.k_offset(head), layout.k_element(offset, d)),
                        rounded(dtype, k.row(t)[static_cast<size_t>(head * 24 + d)]));
            }
            for (int d = 0; d < v_head_dim; ++d) {
              ASSERT_EQ(read(dtype, block + layout.v_offset(head), offset * v_head_dim + d),
                        rounded(dtype, v.row(t)[static_cast<size_t>(head * v_head_dim + d)]));
            }
          }
        }
      }
    }
  }
}

TEST(KvStore, RefusesWhatDoesNotMatch) {
  ThreadPool threads(1);
  KvLayout layout{DType::kF32, 16, 2, 8, 8};
  Buffer memory(static_cast<size_t>(layout.block_bytes()));
  TestMatrix good(2, 16), narrow(2, 14), few(1, 16);
  const std::vector<int64_t> slots = {0, 15}, outside = {0, 16}, negative = {-1, 0};
  const KvCacheView cache{layout, memory.data(), 1};
  EXPECT_NO_THROW(kv_store(good.tensor(), good.tensor(), slots, cache, threads));
  EXPECT_THROW(kv_store(narrow.tensor(), good.tensor(), slots, cache, threads), Error);
  EXPECT_THROW(kv_store(good.tensor(), narrow.tensor(), slots, cache, threads), Error);
  EXPECT_THROW(kv_store(good.tensor(), few.tensor(), slots, cache, threads), Error);
  EXPECT_THROW(kv_store(good.tensor(), good.tensor(), outside, cache, threads), Error);
  EXPECT_THROW(kv_store(good.tensor(), good.tensor(), negative, cache, threads), Error);
  layout.dtype = DType::kQ4K;
  EXPECT_THROW(kv_store(good.tensor(), good.tensor(), slots, {layout, memory.data(), 1}, threads),
               Error);
}

TEST(SelectKvStore, TakesTheBestTheCpuHas) {
  for (DType dtype : kDTypes) {
    EXPECT_STREQ(select_kv_store(dtype, Isa{}).name, "scalar");
    EXPECT_STREQ(select_kv_store(dtype, Isa{Isa::kAvx2}).name, "avx2");
    EXPECT_STREQ(select_kv_store(dtype, Isa{Isa::kAvx2, Isa::kAvx512}).name, "avx512");
    EXPECT_EQ(select_kv_store(dtype, Isa{}).dtype, dtype);
  }
  EXPECT_THROW(select_kv_store(DType::kQ8_0), Error);
}

}  // namespace
}  // namespace lanner
