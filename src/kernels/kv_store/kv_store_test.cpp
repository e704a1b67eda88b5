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
#include "kernels/hadamard.h"
#include "kernels/kv_store/kernels.h"
#include "kernels/testing/matrix.h"

namespace lanner {
namespace {

constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBf16};

std::vector<const KvStoreKernel*> kernels_of(bool int8) {
  std::vector<const KvStoreKernel*> kernels;
  for (const KvStoreKernel* kernel : kv_store_kernels()) {
    if ((kernel->dtype == DType::kI8) == int8) kernels.push_back(kernel);
  }
  return kernels;
}

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
    scalar.key(x.data(), head_dim, false,
               expected_keys.data() + layout.k_element(lane, 0) * element_bytes, nullptr);
    scalar.value(x.data(), head_dim, expected_values.data(), nullptr);
    kernel.key(x.data(), head_dim, false, keys.data() + layout.k_element(lane, 0) * element_bytes,
               nullptr);
    kernel.value(x.data(), head_dim, values.data(), nullptr);

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
  GetParam()->value(x.data(), 18, row.data(), nullptr);
  const DType dtype = GetParam()->dtype;
  EXPECT_EQ(read(dtype, row.data(), 0), infinity);
  EXPECT_EQ(read(dtype, row.data(), 1), -infinity);
  EXPECT_NE(read(dtype, row.data(), 2), read(dtype, row.data(), 2));
  EXPECT_EQ(read(dtype, row.data(), 3), rounded(dtype, 3e38f));
}

INSTANTIATE_TEST_SUITE_P(AllKernels, KvStoreKernelTest, testing::ValuesIn(kernels_of(false)),
                         [](const auto& test) {
                           return std::string(test.param->name) + "_" +
                                  dtype_name(test.param->dtype);
                         });

class KvStoreInt8Test : public KvStoreKernelTest {};

// By the definition, in double: rotation, scale, elements, and nothing else written.
TEST_P(KvStoreInt8Test, QuantisesARowByItsLargestElement) {
  for (int head_dim : {2, 4, 6, 8, 14, 16, 18, 30, 34, 64, 80, 96, 112, 128, 192, 256}) {
    for (bool rotated : {false, true}) {
      SCOPED_TRACE(testing::Message() << head_dim << (rotated ? " rotated" : " plain"));
      const KvLayout layout{DType::kI8, 16, 1, head_dim, head_dim, rotated};
      const std::vector<float> x = random_normal(head_dim, /*seed=*/1, /*deviation=*/3.0f);
      const int token = 5;
      std::vector<std::byte> keys(static_cast<size_t>(layout.k_bytes()), std::byte{0x5a});
      std::vector<std::byte> values(static_cast<size_t>(layout.v_bytes()), std::byte{0x5a});
      float k_scale, v_scale;
      GetParam()->key(x.data(), head_dim, rotated, keys.data() + layout.k_element(token, 0),
                      &k_scale);
      GetParam()->value(x.data(), head_dim, values.data() + layout.v_element(token, 0), &v_scale);

      std::vector<float> k = x;
      if (rotated) hadamard(k.data(), head_dim);
      const auto largest = [](const std::vector<float>& row) {
        float max = 0;
        for (float value : row) max = std::max(max, std::abs(value));
        return max;
      };
      EXPECT_FLOAT_EQ(k_scale, largest(k) / 127.0f);
      EXPECT_FLOAT_EQ(v_scale, largest(x) / 127.0f);
      for (int d = 0; d < head_dim; ++d) {
        const auto i = static_cast<size_t>(d);
        const int key = static_cast<int>(keys[static_cast<size_t>(layout.k_element(token, d))]);
        EXPECT_NEAR(static_cast<float>(key - 128), k[i] / k_scale, 0.501f);
        const auto value =
            static_cast<int8_t>(values[static_cast<size_t>(layout.v_element(token, d))]);
        EXPECT_NEAR(static_cast<float>(value), x[i] / v_scale, 0.501f);
      }
      // What fills the last quad up is a zero.
      const int padded = (head_dim + 3) / 4 * 4;
      for (int d = head_dim; d < padded; ++d) {
        EXPECT_EQ(keys[static_cast<size_t>(layout.k_element(token, d))], std::byte{128});
      }
      const auto untouched = [](const std::vector<std::byte>& bytes) {
        return std::count(bytes.begin(), bytes.end(), std::byte{0x5a});
      };
      EXPECT_GE(untouched(keys), static_cast<std::ptrdiff_t>(keys.size()) - padded);
      EXPECT_GE(untouched(values), static_cast<std::ptrdiff_t>(values.size()) - head_dim);
    }
  }
}

TEST_P(KvStoreInt8Test, HasTheBitsOfTheScalarKernel) {
  const KvStoreKernel& scalar = select_kv_store(DType::kI8, Isa{});
  for (int head_dim : {6, 64, 80, 128}) {
    const KvLayout layout{DType::kI8, 16, 1, head_dim, head_dim, true};
    for (uint32_t seed = 1; seed < 20; ++seed) {
      const std::vector<float> x = random_normal(head_dim, seed);
      std::vector<std::byte> actual(static_cast<size_t>(layout.head_bytes())), expected = actual;
      const auto store = [&](const KvStoreKernel& kernel, std::vector<std::byte>& to) {
        std::byte* values = to.data() + layout.v_offset(0);
        kernel.key(x.data(), head_dim, true, to.data() + layout.k_element(3, 0),
                   reinterpret_cast<float*>(to.data() + layout.k_scale(3)));
        kernel.value(x.data(), head_dim, values + layout.v_element(3, 0),
                     reinterpret_cast<float*>(values + layout.v_scale(3)));
      };
      store(*GetParam(), actual);
      store(scalar, expected);
      ASSERT_EQ(actual, expected) << head_dim << " " << seed;
    }
  }
}

TEST_P(KvStoreInt8Test, ZerosStayZeroAndWhatIsNotFiniteShows) {
  std::vector<float> x(8, 0.0f);
  std::vector<std::byte> row(8 * 4);
  std::vector<std::byte> lane(8 * size_t{KvLayout::kPanelTokens});
  float scale = -1;
  GetParam()->value(x.data(), 8, row.data(), &scale);
  EXPECT_EQ(scale, 0.0f);
  EXPECT_EQ(row[0], std::byte{0});
  x[3] = 1e-38f;  // its inverse would be infinite
  GetParam()->value(x.data(), 8, row.data(), &scale);
  EXPECT_EQ(scale, 0.0f);
  EXPECT_EQ(row[12], std::byte{0});
  for (float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                    std::numeric_limits<float>::quiet_NaN()}) {
    x[3] = bad;
    GetParam()->value(x.data(), 8, row.data(), &scale);
    EXPECT_FALSE(std::isfinite(scale));
    EXPECT_EQ(row[12], std::byte{0});
    GetParam()->key(x.data(), 8, false, lane.data(), &scale);
    EXPECT_FALSE(std::isfinite(scale));
  }
}

INSTANTIATE_TEST_SUITE_P(AllKernels, KvStoreInt8Test, testing::ValuesIn(kernels_of(true)),
                         [](const auto& test) { return std::string(test.param->name); });

// Twice is nothing, lengths stay, and so do products: what makes rotating q and K alike exact.
TEST(Hadamard, IsOrthonormalAndItsOwnInverse) {
  for (int n : {1, 2, 4, 6, 16, 24, 64, 80, 96, 112, 128, 160, 192, 256}) {
    const std::vector<float> a = random_normal(n, 1), b = random_normal(n, 2);
    std::vector<float> x = a, y = b;
    hadamard(x.data(), n);
    hadamard(y.data(), n);
    const auto dot = [n](const std::vector<float>& p, const std::vector<float>& q) {
      double sum = 0;
      for (size_t i = 0; i < static_cast<size_t>(n); ++i) sum += double(p[i]) * q[i];
      return sum;
    };
    EXPECT_NEAR(dot(x, y), dot(a, b), 1e-4) << n;
    EXPECT_NEAR(dot(x, x), dot(a, a), 1e-3) << n;
    if (n > 1) {
      EXPECT_NE(x, a) << n;
    }
    hadamard(x.data(), n);
    for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(x[i], a[i], 1e-5);
  }
}

TEST(Hadamard, SpreadsAnOutlierOverItsBlock) {
  std::vector<float> x(80, 0.0f);
  x[7] = 8.0f;
  hadamard(x.data(), 80);
  for (size_t i = 0; i < 64; ++i) EXPECT_FLOAT_EQ(std::abs(x[i]), 1.0f);
  for (size_t i = 64; i < 80; ++i) EXPECT_EQ(x[i], 0.0f);
}

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
              ASSERT_EQ(read(dtype, block + layout.v_offset(head), layout.v_element(offset, d)),
                        rounded(dtype, v.row(t)[static_cast<size_t>(head * v_head_dim + d)]));
            }
          }
        }
      }
    }
  }
}

TEST(KvStore, Int8PutsEveryTokenAndItsScalesIntoItsSlot) {
  constexpr int kTokens = 50, kHeads = 3, kHeadDim = 24, kValueDim = 17;
  const KvLayout layout{DType::kI8, 32, kHeads, kHeadDim, kValueDim, false};
  TestMatrix k = TestMatrix::random(kTokens, kHeads * kHeadDim, /*seed=*/1);
  TestMatrix v = TestMatrix::random(kTokens, kHeads * kValueDim, /*seed=*/2);
  std::vector<int64_t> slots;
  for (int t = 0; t < kTokens; ++t) slots.push_back((t * 71 + 13) % 96);
  ThreadPool threads(3);
  Buffer memory(static_cast<size_t>(layout.block_bytes() * 3));
  kv_store(k.tensor(), v.tensor(), slots, {layout, memory.data(), 3}, threads);
  for (int t = 0; t < kTokens; ++t) {
    const int64_t slot = slots[static_cast<size_t>(t)];
    const std::byte* block = memory.data() + slot / 32 * layout.block_bytes();
    const int offset = static_cast<int>(slot % 32);
    for (int head = 0; head < kHeads; ++head) {
      const std::byte* keys = block + layout.k_offset(head);
      const std::byte* values = block + layout.v_offset(head);
      const float k_scale = *reinterpret_cast<const float*>(keys + layout.k_scale(offset));
      const float v_scale = *reinterpret_cast<const float*>(values + layout.v_scale(offset));
      for (int d = 0; d < kHeadDim; ++d) {
        const float q =
            static_cast<float>(static_cast<int>(keys[layout.k_element(offset, d)]) - 128);
        ASSERT_NEAR(q * k_scale, k.row(t)[static_cast<size_t>(head * kHeadDim + d)],
                    0.501f * k_scale);
      }
      for (int d = 0; d < kValueDim; ++d) {
        const float q = static_cast<int8_t>(values[layout.v_element(offset, d)]);
        ASSERT_NEAR(q * v_scale, v.row(t)[static_cast<size_t>(head * kValueDim + d)],
                    0.501f * v_scale);
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
  KvLayout wide{DType::kI8, 16, 1, 2048, 16};
  TestMatrix wide_k(1, 2048), wide_v(1, 16);
  Buffer wide_memory(static_cast<size_t>(wide.block_bytes()));
  EXPECT_THROW(kv_store(wide_k.tensor(), wide_v.tensor(), std::vector<int64_t>{0},
                        {wide, wide_memory.data(), 1}, threads),
               Error);
  layout.dtype = DType::kQ4K;
  EXPECT_THROW(kv_store(good.tensor(), good.tensor(), slots, {layout, memory.data(), 1}, threads),
               Error);
}

TEST(SelectKvStore, TakesTheBestTheCpuHas) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBf16, DType::kI8}) {
    EXPECT_STREQ(select_kv_store(dtype, Isa{}).name, "scalar");
    EXPECT_STREQ(select_kv_store(dtype, Isa{Isa::kAvx2}).name, "avx2");
    EXPECT_STREQ(select_kv_store(dtype, Isa{Isa::kAvx2, Isa::kAvx512}).name, "avx512");
    EXPECT_EQ(select_kv_store(dtype, Isa{}).dtype, dtype);
  }
  EXPECT_THROW(select_kv_store(DType::kQ8_0), Error);
}

}  // namespace
}  // namespace lanner
