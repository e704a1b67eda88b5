// SPDX-License-Identifier: Apache-2.0
#include "kernels/convert/convert.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>

#include "base/error.h"
#include "base/float16.h"
#include "base/testing/random.h"
#include "kernels/convert/kernels.h"

namespace lanner {
namespace {

std::vector<uint8_t> random_bytes(size_t count, uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(generator());
  return bytes;
}

// The first element that differs, or -1. Any NaN equals any other.
int64_t first_difference(DType dtype, const uint8_t* a, const uint8_t* b, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    float x, y;
    if (dtype == DType::kF32) {
      std::memcpy(&x, a + 4 * i, 4);
      std::memcpy(&y, b + 4 * i, 4);
    } else {
      uint16_t bits_x, bits_y;
      std::memcpy(&bits_x, a + 2 * i, 2);
      std::memcpy(&bits_y, b + 2 * i, 2);
      x = dtype == DType::kF16 ? fp16_to_fp32(bits_x) : bf16_to_fp32(bits_x);
      y = dtype == DType::kF16 ? fp16_to_fp32(bits_y) : bf16_to_fp32(bits_y);
    }
    if (std::isnan(x) && std::isnan(y)) continue;
    if (std::bit_cast<uint32_t>(x) != std::bit_cast<uint32_t>(y)) return i;
  }
  return -1;
}

struct KernelCase {
  const ConvertKernelTable* table;
  const ConvertKernel* kernel;
};

std::vector<KernelCase> kernel_cases() {
  std::vector<KernelCase> cases;
  for (const ConvertKernelTable* table : convert_kernel_tables()) {
    for (const ConvertKernel& kernel : table->list()) cases.push_back({table, &kernel});
  }
  return cases;
}

std::string kernel_case_name(const testing::TestParamInfo<KernelCase>& info) {
  return fmt::format("{}_{}_to_{}", info.param.table->name, info.param.kernel->from,
                     info.param.kernel->to);
}

class ConvertKernelTest : public testing::TestWithParam<KernelCase> {};

// Random bits hold every kind of value: subnormal, infinite, NaN.
TEST_P(ConvertKernelTest, EqualsScalarAndWritesNothingElse) {
  const auto [table, kernel] = GetParam();
  if (!cpu_isa().has(table->needs)) GTEST_SKIP() << "this CPU lacks " << table->needs.to_string();
  const int block = dtype_info(kernel->from).block_elements;
  const ConvertRowFn scalar = select_convert(kernel->from, kernel->to, Isa{});
  for (int64_t blocks : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 1000}) {
    const int64_t n = blocks * block;
    const auto bytes = static_cast<size_t>(dtype_bytes(kernel->to, n));
    const std::vector<uint8_t> x =
        random_bytes(static_cast<size_t>(dtype_bytes(kernel->from, n)), static_cast<uint32_t>(n));
    std::vector<uint8_t> expected(bytes), actual(bytes + 64, 0xa5);

    scalar(x.data(), n, expected.data());
    kernel->row(x.data(), n, actual.data());

    ASSERT_EQ(first_difference(kernel->to, actual.data(), expected.data(), n), -1) << "n " << n;
    for (size_t i = bytes; i < actual.size(); ++i) ASSERT_EQ(actual[i], 0xa5) << "n " << n;
  }
}

INSTANTIATE_TEST_SUITE_P(AllKernels, ConvertKernelTest, testing::ValuesIn(kernel_cases()),
                         kernel_case_name);

std::vector<uint8_t> read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// GGUF's blocks; int4 and its like are our own.
std::vector<DType> block_dtypes() {
  std::vector<DType> types;
  for (const DTypeInfo& info : dtypes()) {
    const bool is_own = std::string_view(info.name).starts_with("int");
    if (info.block_elements > 2 && !is_own) types.push_back(info.dtype);
  }
  return types;
}

class GgufBlocksTest : public testing::TestWithParam<DType> {};

TEST_P(GgufBlocksTest, EqualThePythonPackageBitByBit) {
  const DType dtype = GetParam();
  const std::string stem = std::string(LANNER_TESTS_DIR) + "/gguf/" + dtype_name(dtype);
  const std::vector<uint8_t> blocks = read_bytes(stem + ".blocks");
  const std::vector<uint8_t> expected = read_bytes(stem + ".fp32");
  const auto block_bytes = static_cast<size_t>(dtype_info(dtype).block_bytes);
  ASSERT_GT(blocks.size(), 0u);
  ASSERT_EQ(blocks.size() % block_bytes, 0u);
  const auto n =
      static_cast<int64_t>(blocks.size() / block_bytes) * dtype_info(dtype).block_elements;
  ASSERT_EQ(expected.size(), static_cast<size_t>(n) * sizeof(float));

  std::vector<uint8_t> actual(expected.size());
  select_convert(dtype, DType::kF32)(blocks.data(), n, actual.data());

  EXPECT_EQ(first_difference(DType::kF32, actual.data(), expected.data(), n), -1);
}

INSTANTIATE_TEST_SUITE_P(AllBlockTypes, GgufBlocksTest, testing::ValuesIn(block_dtypes()),
                         [](const auto& test) { return std::string(dtype_name(test.param)); });

// Through fp32 and back nothing may change: fp32 holds every 16-bit float.
TEST(Convert, KeepsEvery16BitFloatThroughFp32) {
  std::vector<uint16_t> all(65536);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  for (DType dtype : {DType::kF16, DType::kBf16}) {
    std::vector<float> wide(all.size());
    std::vector<uint16_t> back(all.size());
    select_convert(dtype, DType::kF32)(all.data(), 65536, wide.data());
    select_convert(DType::kF32, dtype)(wide.data(), 65536, back.data());
    for (size_t i = 0; i < all.size(); ++i) {
      if (std::isnan(wide[i])) continue;
      ASSERT_EQ(back[i], all[i]) << dtype_name(dtype);
    }
  }
}

TEST(Convert, RoundsToNearestEven) {
  struct Case {
    float value;
    uint16_t fp16;
    uint16_t bf16;
  };
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<Case> cases = {
      {1.0f, 0x3c00, 0x3f80},
      {1.0f + 0x1p-11f, 0x3c00, 0x3f80},      // fp16: tie, to even below
      {1.0f + 3 * 0x1p-11f, 0x3c02, 0x3f80},  // fp16: tie, to even above
      {1.0f + 0x1p-8f, 0x3c04, 0x3f80},       // bf16: tie, to even below
      {1.0f + 3 * 0x1p-8f, 0x3c0c, 0x3f82},   // bf16: tie, to even above
      {65519.0f, 0x7bff, 0x4780},             // the last that fp16 holds
      {65520.0f, 0x7c00, 0x4780},             // rounds to infinity
      {0x1p-24f, 0x0001, 0x3380},             // the smallest fp16 subnormal
      {0x1p-25f, 0x0000, 0x3300},             // half of it: to even, zero
      {-0.0f, 0x8000, 0x8000},
      {inf, 0x7c00, 0x7f80},
      {std::numeric_limits<float>::max(), 0x7c00, 0x7f80},
  };
  for (const Case& c : cases) {
    // Long enough for whole vectors and a tail.
    const std::vector<float> x(37, c.value);
    std::vector<uint16_t> y(37);
    select_convert(DType::kF32, DType::kF16)(x.data(), 37, y.data());
    EXPECT_THAT(y, testing::Each(c.fp16)) << c.value;
    select_convert(DType::kF32, DType::kBf16)(x.data(), 37, y.data());
    EXPECT_THAT(y, testing::Each(c.bf16)) << c.value;
  }
}

TEST(Convert, ConvertsTheRowsOfAViewOnAnyNumberOfThreads) {
  const int64_t num_rows = 53, n = 700, stride = 720;
  std::vector<float> x = random_normal(num_rows * stride, 5);
  const Tensor columns(x.data(), DType::kF32, Shape{num_rows, n}, stride);
  std::vector<uint16_t> expected(static_cast<size_t>(num_rows * n));
  for (int64_t i = 0; i < num_rows; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      expected[static_cast<size_t>(i * n + j)] =
          fp32_to_bf16(x[static_cast<size_t>(i * stride + j)]);
    }
  }
  for (int num_threads : {1, 2, 3}) {
    ThreadPool threads(num_threads);
    std::vector<uint16_t> y(expected.size());
    convert(columns, Tensor(y.data(), DType::kBf16, Shape{num_rows, n}), threads);
    EXPECT_EQ(y, expected) << num_threads;
  }
}

TEST(Convert, RefusesOtherShapesAndTypes) {
  ThreadPool threads(1);
  std::vector<float> memory(64);
  const Tensor x(memory.data(), DType::kF32, Shape{2, 8});
  EXPECT_THROW(convert(x, Tensor(memory.data(), DType::kBf16, Shape{8, 2}), threads), Error);
  try {
    convert(x, Tensor(memory.data(), DType::kI8, Shape{2, 8}), threads);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kUnsupported);
    EXPECT_THAT(e.what(), testing::AllOf(testing::HasSubstr("fp32"), testing::HasSubstr("int8")));
  }
}

TEST(SelectConvert, TakesTheBestTheCpuHas) {
  const auto table_of = [](DType from, DType to, Isa isa) -> std::string {
    const ConvertRowFn row = select_convert(from, to, isa);
    for (const KernelCase& c : kernel_cases()) {
      if (c.kernel->row == row) return c.table->name;
    }
    return "none";
  };
  const Isa avx2{Isa::kAvx2};
  const Isa avx512{Isa::kAvx2, Isa::kAvx512};
  EXPECT_EQ(table_of(DType::kBf16, DType::kF32, Isa{}), "scalar");
  EXPECT_EQ(table_of(DType::kBf16, DType::kF32, avx2), "avx2");
  EXPECT_EQ(table_of(DType::kBf16, DType::kF32, avx512), "avx512");
  EXPECT_EQ(table_of(DType::kQ6K, DType::kF32, Isa{}), "scalar");
  EXPECT_EQ(table_of(DType::kQ6K, DType::kF32, avx2), "avx2");
  EXPECT_EQ(table_of(DType::kI8, DType::kF32, avx512), "scalar");
}

TEST(SelectConvert, KnowsEveryTypeButInt4AndInt32) {
  for (const DTypeInfo& info : dtypes()) {
    if (is_packing(info.dtype) || info.dtype == DType::kI32) {
      EXPECT_THROW(select_convert(info.dtype, DType::kF32), Error) << info.name;
    } else {
      EXPECT_NE(select_convert(info.dtype, DType::kF32), nullptr) << info.name;
    }
  }
}

}  // namespace
}  // namespace lanner
