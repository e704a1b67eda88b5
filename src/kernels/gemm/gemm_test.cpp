// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/gemm.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/float16.h"
#include "base/testing/random.h"
#include "base/testing/tolerance.h"
#include "kernels/convert/convert.h"
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/repack.h"

namespace lanner {
namespace {

// A weight as it comes from a file and what it is packed as.
struct WeightType {
  GemmGroup group;
  DType source;
  std::optional<DType> packed;
};

constexpr std::array kWeightTypes = {
    WeightType{GemmGroup::kF32, DType::kF32, std::nullopt},
    WeightType{GemmGroup::kF32, DType::kU8, std::nullopt},
    WeightType{GemmGroup::kF32, DType::kBf16, DType::kF32},
    WeightType{GemmGroup::kF32, DType::kQ4K, DType::kF32},
    WeightType{GemmGroup::kF16, DType::kF16, std::nullopt},
    WeightType{GemmGroup::kF16, DType::kBf16, DType::kF16},
    WeightType{GemmGroup::kBf16, DType::kBf16, std::nullopt},
    WeightType{GemmGroup::kBf16, DType::kF32, DType::kBf16},
    WeightType{GemmGroup::kI8, DType::kI8, std::nullopt},
    WeightType{GemmGroup::kI8, DType::kF32, DType::kW8A8},
    WeightType{GemmGroup::kI8, DType::kBf16, DType::kW8A8},
    WeightType{GemmGroup::kI8, DType::kQ6K, DType::kW8A8},
    WeightType{GemmGroup::kI8G32, DType::kF32, DType::kI8},
    WeightType{GemmGroup::kI8G32, DType::kQ6K, DType::kI8},
    WeightType{GemmGroup::kI8G32, DType::kQ8_0, DType::kI8},
    WeightType{GemmGroup::kI4G64, DType::kBf16, DType::kI4G64},
    WeightType{GemmGroup::kI4G128, DType::kF32, DType::kI4G128},
    WeightType{GemmGroup::kI4G32M, DType::kF32, DType::kI4Asym},
    WeightType{GemmGroup::kI4G32M, DType::kQ4_1, DType::kI4Asym},
    WeightType{GemmGroup::kI4G32, DType::kF32, DType::kI4},
    WeightType{GemmGroup::kI4G32, DType::kQ4_0, std::nullopt},
    WeightType{GemmGroup::kI4G32, DType::kQ4_0, DType::kI4},
    WeightType{GemmGroup::kI4G32M, DType::kQ4_1, std::nullopt},
    WeightType{GemmGroup::kI4G32M, DType::kQ4_1, DType::kI4},
    WeightType{GemmGroup::kI4G32MK, DType::kQ4K, DType::kI4},
    WeightType{GemmGroup::kI8G32, DType::kQ5_0, std::nullopt},
    WeightType{GemmGroup::kI8G32, DType::kQ8_0, std::nullopt},
    WeightType{GemmGroup::kI8G32M, DType::kQ5_1, std::nullopt},
    WeightType{GemmGroup::kI4G16MK, DType::kQ2K, std::nullopt},
    WeightType{GemmGroup::kI4G16K, DType::kQ3K, std::nullopt},
    WeightType{GemmGroup::kI4G32MK, DType::kQ4K, std::nullopt},
    WeightType{GemmGroup::kI8G32MK, DType::kQ5K, std::nullopt},
    WeightType{GemmGroup::kI8G16K, DType::kQ6K, std::nullopt},
};

std::string type_name(const WeightType& type) {
  std::string name = dtype_name(type.source);
  if (type.packed) name += std::string("_as_") + dtype_name(*type.packed);
  return name;
}

// Bytes of a weight [n, k] whose values are about 1 / sqrt(k), so that products of normal x are
// about 1.
std::vector<std::byte> random_weight(DType dtype, int64_t n, int64_t k, uint32_t seed) {
  std::vector<std::byte> bytes(static_cast<size_t>(n * dtype_bytes(dtype, k)));
  const float size = 1.0f / std::sqrt(static_cast<float>(k));
  if (!is_block_dtype(dtype) && dtype != DType::kI8 && dtype != DType::kU8) {
    const std::vector<float> values = random_normal(n * k, seed, size);
    if (dtype == DType::kF32) {
      std::memcpy(bytes.data(), values.data(), bytes.size());
    } else {
      select_convert(DType::kF32, dtype, Isa{})(values.data(), n * k, bytes.data());
    }
    return bytes;
  }
  std::mt19937 random(seed);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  // Where a block's fp16 scales are, and how large they should be.
  struct Half {
    int offset;
    float value;
  };
  std::vector<Half> halves;
  switch (dtype) {
    case DType::kQ4_0:
      halves = {{0, size / 8}};
      break;
    case DType::kQ4_1:
      halves = {{0, size / 8}, {2, -size}};
      break;
    case DType::kQ5_0:
      halves = {{0, size / 16}};
      break;
    case DType::kQ5_1:
      halves = {{0, size / 16}, {2, -size}};
      break;
    case DType::kQ8_0:
      halves = {{0, size / 128}};
      break;
    case DType::kQ2K:
      halves = {{80, size / 16}, {82, size / 10}};
      break;
    case DType::kQ3K:
      halves = {{108, size / 64}};
      break;
    case DType::kQ4K:
      halves = {{0, size / 256}, {2, size / 32}};
      break;
    case DType::kQ5K:
      halves = {{0, size / 512}, {2, size / 32}};
      break;
    case DType::kQ6K:
      halves = {{208, size / 2048}};
      break;
    default:
      break;
  }
  const int block_bytes = dtype_info(dtype).block_bytes;
  std::uniform_real_distribution<float> factor(0.5f, 1.5f);
  for (size_t b = 0; b < bytes.size() / static_cast<size_t>(block_bytes); ++b) {
    for (const Half& half : halves) {
      const uint16_t bits = fp32_to_fp16(half.value * factor(random));
      std::memcpy(bytes.data() + b * static_cast<size_t>(block_bytes) + half.offset, &bits, 2);
    }
  }
  return bytes;
}

// Blocks whose layout is the packing's keep their values.
bool stays_exact(const WeightType& type) {
  return is_block_dtype(type.source) && type.packed != DType::kF32 && type.packed != DType::kW8A8 &&
         block_group(type.source) == type.group;
}

float half(float value) { return fp16_to_fp32(fp32_to_fp16(value)); }

// What the scalar quantiser leaves of a group of int4, its first `count` values; the search for the
// scale is tested by itself.
void quantize_int4(float* values, int64_t count, int64_t group_size) {
  const GemmGroup group = group_size == 32   ? GemmGroup::kI4G32
                          : group_size == 64 ? GemmGroup::kI4G64
                                             : GemmGroup::kI4G128;
  const GemmLayout layout = gemm_layout(group);
  std::vector<float> w(static_cast<size_t>(kPanelRows * layout.k_block));
  std::copy_n(values, count, w.begin());
  std::vector<std::byte> panel(static_cast<size_t>(layout.block_bytes));
  select_gemm_quantizer(group, Isa{})(w.data(), layout.k_block, layout.k_block, panel.data());
  uint16_t scale;
  std::memcpy(&scale, panel.data() + layout.scale_offset, sizeof scale);
  for (int64_t i = 0; i < count; ++i) {
    const auto byte = static_cast<int>(
        panel[static_cast<size_t>(layout.q_offset + i / 8 * kPanelRows * 4 + i % 4)]);
    const int q = i % 8 < 4 ? byte & 15 : byte >> 4;
    values[i] = fp16_to_fp32(scale) * static_cast<float>(q - 8);
  }
}

// `count` values of a group of `group` to what quantising leaves of them.
void quantize_group(DType packed, float* values, int64_t count, int64_t group) {
  if (packed == DType::kI4 || packed == DType::kI4G64 || packed == DType::kI4G128) {
    return quantize_int4(values, count, group);
  }
  float high = count < group ? 0.0f : values[0];  // the rest is padded with zeros
  float low = high;
  for (int64_t i = 0; i < count; ++i) {
    high = std::max(high, values[i]);
    low = std::min(low, values[i]);
  }
  const float largest = std::max(high, -low);
  for (int64_t i = 0; i < count; ++i) {
    float& value = values[i];
    if (packed == DType::kW8A8) {
      value = std::nearbyint(value * (127.0f / largest)) * (largest / 127.0f);
    } else if (packed == DType::kI8) {
      const float d = half(largest / 127.0f);
      value = d * (std::clamp(std::nearbyint(value * (1.0f / d) + 128.0f), 0.0f, 255.0f) - 128.0f);
    } else if (packed == DType::kI4Asym) {
      const float d = half((high - low) / 15.0f);
      const float inverse = 1.0f / d;
      const float min = half(low);
      value = d * std::clamp(std::nearbyint(value * inverse - min * inverse), 0.0f, 15.0f) + min;
    }
  }
}

// The values that multiplying should see, by formulas of our own: [n, k].
std::vector<float> expected_weight(const WeightType& type, const std::vector<std::byte>& bytes,
                                   int64_t n, int64_t k) {
  std::vector<float> w(static_cast<size_t>(n * k));
  if (type.source == DType::kF32) {
    std::memcpy(w.data(), bytes.data(), bytes.size());
  } else {
    select_convert(type.source, DType::kF32, Isa{})(bytes.data(), n * k, w.data());
  }
  if (!type.packed || stays_exact(type)) return w;
  if (type.packed == DType::kF16) {
    for (float& value : w) value = fp16_to_fp32(fp32_to_fp16(value));
  } else if (type.packed == DType::kBf16) {
    for (float& value : w) value = bf16_to_fp32(fp32_to_bf16(value));
  } else if (type.packed != DType::kF32) {
    const int64_t group = type.packed == DType::kW8A8 ? k : gemm_layout(type.group).scale_group;
    for (int64_t row = 0; row < n; ++row) {
      for (int64_t begin = 0; begin < k; begin += group) {
        quantize_group(*type.packed, w.data() + row * k + begin, std::min(group, k - begin), group);
      }
    }
  }
  return w;
}

// x as quantising, or rounding to bf16, leaves it.
std::vector<float> expected_x(GemmX form, const std::vector<float>& x, int64_t k) {
  std::vector<float> result = x;
  if (form == GemmX::kBf16) {
    for (float& value : result) value = bf16_to_fp32(fp32_to_bf16(value));
  } else if (form != GemmX::kF32) {
    const int64_t group = form == GemmX::kInt8Row ? k : 32;
    for (size_t row = 0; row < x.size(); row += static_cast<size_t>(k)) {
      for (int64_t begin = 0; begin < k; begin += group) {
        float* values = result.data() + row + begin;
        const int64_t count = std::min(group, k - begin);
        float largest = 0.0f;
        for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(values[i]));
        for (int64_t i = 0; i < count; ++i) {
          values[i] = std::nearbyint(values[i] * (127.0f / largest)) * (largest / 127.0f);
        }
      }
    }
  }
  return result;
}

// In double: [m, n].
std::vector<float> reference(const std::vector<float>& x, const std::vector<float>& w, int64_t k) {
  const size_t depth = static_cast<size_t>(k);
  const size_t m = x.size() / depth;
  const size_t n = w.size() / depth;
  std::vector<float> y(m * n);
  for (size_t i = 0; i < m; ++i) {
    for (size_t j = 0; j < n; ++j) {
      double sum = 0.0;
      for (size_t l = 0; l < depth; ++l) {
        sum += static_cast<double>(x[i * depth + l]) * static_cast<double>(w[j * depth + l]);
      }
      y[i * n + j] = static_cast<float>(sum);
    }
  }
  return y;
}

ThreadPool& pool(int num_threads) {
  static std::array<std::unique_ptr<ThreadPool>, 5> pools;
  auto& pool = pools[static_cast<size_t>(num_threads)];
  if (pool == nullptr) pool = std::make_unique<ThreadPool>(num_threads);
  return *pool;
}

constexpr float kUntouched = 12345.0f;

// gemm over rows that lie apart; also checks that nothing is written between them.
std::vector<float> run_gemm(const std::vector<float>& x, int64_t m, const PackedWeight& w,
                            const GemmOptions& options = {}, int num_threads = 1,
                            const std::vector<float>* initial = nullptr) {
  const int64_t k = w.k(), n = w.n();
  const int64_t x_stride = k + 5, y_stride = n + 3;
  std::vector<float> x_rows(static_cast<size_t>(m * x_stride), kUntouched);
  std::vector<float> y_rows(static_cast<size_t>(m * y_stride), kUntouched);
  for (int64_t i = 0; i < m; ++i) {
    std::copy_n(x.begin() + i * k, k, x_rows.begin() + i * x_stride);
    if (initial != nullptr) std::copy_n(initial->begin() + i * n, n, y_rows.begin() + i * y_stride);
  }
  Workspace workspace;
  gemm(Tensor(x_rows.data(), DType::kF32, {m, k}, x_stride), w, options,
       Tensor(y_rows.data(), DType::kF32, {m, n}, y_stride), workspace, pool(num_threads));
  std::vector<float> y;
  for (int64_t i = 0; i < m; ++i) {
    const auto row = y_rows.begin() + i * y_stride;
    y.insert(y.end(), row, row + n);
    EXPECT_TRUE(std::all_of(row + n, row + y_stride, [](float v) { return v == kUntouched; }));
  }
  return y;
}

std::vector<float> first_rows(const std::vector<float>& y, int64_t rows, int64_t n) {
  return {y.begin(), y.begin() + rows * n};
}

PackedWeight pack_one(std::vector<std::byte>& bytes, const WeightType& type, int64_t n, int64_t k,
                      Isa isa, int num_threads = 1) {
  const Tensor part(bytes.data(), type.source, {n, k});
  return PackedWeight::pack({&part, 1}, {type.packed, isa}, pool(num_threads));
}

struct MatrixSize {
  int64_t n, k;
};

// Odd sizes, tails of every unrolling, more panels than stand side by side, more than one step of
// k.
std::vector<MatrixSize> matrix_sizes(DType source) {
  switch (dtype_info(source).block_elements) {
    case 1:
      return {{1, 1}, {16, 33}, {203, 71}, {37, 777}};
    case 32:
      return {{1, 32}, {203, 96}, {37, 1312}};
    default:
      return {{1, 256}, {203, 256}, {37, 1280}};
  }
}

constexpr std::array<int64_t, 14> kRowCounts = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 64, 100};
constexpr int64_t kMostRows = 100;

struct Case {
  const GemmKernel* kernel;
  WeightType type;
};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const GemmKernelTable* table : gemm_kernel_tables()) {
    for (const GemmKernel& kernel : table->list()) {
      for (const WeightType& type : kWeightTypes) {
        if (type.group == kernel.group) cases.push_back({&kernel, type});
      }
    }
  }
  return cases;
}

class GemmKernelTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const Isa needs = GetParam().kernel->needs;
    if (!cpu_isa().has(needs)) GTEST_SKIP() << "this run has no " << needs.to_string();
  }
};

TEST_P(GemmKernelTest, EqualsTheReferenceForEveryRowAndThreadCount) {
  const auto& [kernel, type] = GetParam();
  for (const auto [n, k] : matrix_sizes(type.source)) {
    SCOPED_TRACE(testing::Message() << "n=" << n << " k=" << k);
    std::vector<std::byte> bytes = random_weight(type.source, n, k, 1);
    const std::vector<float> w = expected_weight(type, bytes, n, k);
    // int8 and uint8 weights come unscaled: keep y about 1.
    const bool unscaled = type.source == DType::kI8 || type.source == DType::kU8;
    const float size = unscaled ? 1.0f / (128.0f * std::sqrt(static_cast<float>(k))) : 1.0f;
    const std::vector<float> x = random_normal(kMostRows * k, 2, size);
    const PackedWeight packed = pack_one(bytes, type, n, k, kernel->needs, 3);
    ASSERT_STREQ(packed.kernel_name(), kernel->name);
    for (const GemmPath& path : kernel->paths) {
      if (path.tile == nullptr) continue;
      const std::vector<float> expected = reference(expected_x(path.x, x, k), w, k);
      for (size_t i = 0; i < kRowCounts.size(); ++i) {
        const int64_t m = kRowCounts[i];
        if (&gemm_path(*kernel, m) != &path) continue;
        const int num_threads = static_cast<int>(i % 4) + 1;
        EXPECT_THAT(run_gemm(x, m, packed, {}, num_threads),
                    is_close_to(first_rows(expected, m, n), tolerance::kReduction))
            << "m=" << m << " threads=" << num_threads;
      }
    }
  }
}

TEST_P(GemmKernelTest, IsCloseToUnquantisedArithmetic) {
  const auto& [kernel, type] = GetParam();
  const int64_t n = 50, k = 512;
  std::vector<std::byte> bytes = random_weight(type.source, n, k, 3);
  WeightType exact = type;
  exact.packed = std::nullopt;
  const std::vector<float> w = expected_weight(exact, bytes, n, k);
  const std::vector<float> x = random_normal(17 * k, 4);
  const std::vector<float> expected = reference(x, w, k);
  const std::vector<float> actual = run_gemm(x, 17, pack_one(bytes, type, n, k, kernel->needs));
  double error = 0.0, norm = 0.0;
  for (size_t i = 0; i < actual.size(); ++i) {
    error += std::pow(static_cast<double>(actual[i] - expected[i]), 2);
    norm += std::pow(static_cast<double>(expected[i]), 2);
  }
  // int4 has a step of an eighth of the largest of its group.
  EXPECT_LT(std::sqrt(error / norm), kernel->group != GemmGroup::kI8 &&
                                             gemm_layout(kernel->group).bits == 4 && type.packed &&
                                             !stays_exact(type)
                                         ? 0.14
                                         : 0.015);
}

TEST_P(GemmKernelTest, ARowDependsNeitherOnTheOthersNorOnTheThreads) {
  const auto& [kernel, type] = GetParam();
  const int64_t n = 203, k = 512;
  std::vector<std::byte> bytes = random_weight(type.source, n, k, 5);
  const PackedWeight packed = pack_one(bytes, type, n, k, kernel->needs, 2);
  const std::vector<float> x = random_normal(kMostRows * k, 6);
  const std::vector<float> all = run_gemm(x, kMostRows, packed, {}, 1);
  const std::vector<float> few = run_gemm(x, 16, packed, {}, 1);
  for (const int64_t m : kRowCounts) {
    const bool as_all = gemm_path(*kernel, m).x == gemm_path(*kernel, kMostRows).x;
    for (int num_threads = 1; num_threads <= 4; ++num_threads) {
      EXPECT_EQ(run_gemm(x, m, packed, {}, num_threads), first_rows(as_all ? all : few, m, n))
          << "m=" << m << " threads=" << num_threads;
    }
  }
}

TEST_P(GemmKernelTest, AddsBiasAndResidual) {
  const auto& [kernel, type] = GetParam();
  const int64_t n = 37, k = 256;
  std::vector<std::byte> bytes = random_weight(type.source, n, k, 7);
  const PackedWeight packed = pack_one(bytes, type, n, k, kernel->needs);
  const std::vector<float> x = random_normal(20 * k, 8);
  const std::vector<float> bias = random_normal(n, 9);
  const std::vector<float> residual = random_normal(20 * n, 10);
  for (const int64_t m : {1, 6, 20}) {
    const std::vector<float> plain = run_gemm(x, m, packed);
    std::vector<float> with_bias = plain, with_both = plain;
    for (size_t i = 0; i < plain.size(); ++i) {
      with_bias[i] += bias[i % static_cast<size_t>(n)];
      with_both[i] = with_bias[i] + residual[i];
    }
    EXPECT_EQ(run_gemm(x, m, packed, {bias.data(), false}, 2), with_bias);
    EXPECT_EQ(run_gemm(x, m, packed, {bias.data(), true}, 2, &residual), with_both);
  }
}

INSTANTIATE_TEST_SUITE_P(AllKernels, GemmKernelTest, testing::ValuesIn(all_cases()),
                         [](const auto& test) {
                           std::string name = std::string(test.param.kernel->name) + "_" +
                                              type_name(test.param.type);
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

// Integer sums and one order of the floats: all vector ISAs agree to the bit.
TEST(Gemm, QuantisedKernelsOfAllVectorIsasGiveTheSameBits) {
  const int64_t n = 50, k = 768;
  const std::vector<float> x = random_normal(9 * k, 12);
  for (const WeightType& type : kWeightTypes) {
    std::vector<std::byte> bytes = random_weight(type.source, n, k, 11);
    std::vector<float> first;
    for (const GemmKernelTable* table : gemm_kernel_tables()) {
      for (const GemmKernel& kernel : table->list()) {
        if (kernel.group != type.group || kernel.needs == Isa{} || !cpu_isa().has(kernel.needs)) {
          continue;
        }
        if (gemm_path(kernel, 9).x == GemmX::kF32) continue;
        const std::vector<float> y = run_gemm(x, 9, pack_one(bytes, type, n, k, kernel.needs));
        if (first.empty()) first = y;
        EXPECT_EQ(y, first) << kernel.name << " " << type_name(type);
      }
    }
  }
}

TEST(Gemm, PartsOfDifferentTypesStandSideBySide) {
  const int64_t k = 512;
  const std::vector<float> x = random_normal(30 * k, 20);
  const std::array<WeightType, 4> types = {
      WeightType{GemmGroup::kI4G32MK, DType::kQ4K, std::nullopt},
      WeightType{GemmGroup::kI8G16K, DType::kQ6K, std::nullopt},
      WeightType{GemmGroup::kF32, DType::kF32, std::nullopt},
      WeightType{GemmGroup::kI4G32, DType::kQ4_0, std::nullopt}};
  const std::array<int64_t, 4> rows = {40, 17, 33, 160};
  std::vector<std::vector<std::byte>> bytes;
  std::vector<Tensor> parts;
  for (size_t i = 0; i < types.size(); ++i) {
    bytes.push_back(random_weight(types[i].source, rows[i], k, static_cast<uint32_t>(i)));
    parts.emplace_back(bytes.back().data(), types[i].source, Shape{rows[i], k});
  }
  const PackedWeight whole = PackedWeight::pack(parts, {}, pool(2));
  EXPECT_EQ(whole.n(), 250);
  EXPECT_EQ(whole.k(), k);
  const std::vector<float> bias = random_normal(whole.n(), 21);
  for (const int64_t m : {1, 3, 30}) {
    for (int num_threads = 1; num_threads <= 4; ++num_threads) {
      const std::vector<float> y = run_gemm(x, m, whole, {bias.data(), false}, num_threads);
      int64_t column = 0;
      for (size_t i = 0; i < types.size(); ++i) {
        const PackedWeight one = PackedWeight::pack({&parts[i], 1}, {}, pool(1));
        const std::vector<float> expected = run_gemm(x, m, one, {bias.data() + column, false});
        for (int64_t row = 0; row < m; ++row) {
          for (int64_t j = 0; j < rows[i]; ++j) {
            ASSERT_EQ(y[static_cast<size_t>(row * whole.n() + column + j)],
                      expected[static_cast<size_t>(row * rows[i] + j)])
                << "m=" << m << " part " << i << " column " << j;
          }
        }
        column += rows[i];
      }
    }
  }
}

TEST(Gemm, SelectionTakesTheBestKernelsOfAnIsa) {
  const auto name = [](GemmGroup group, Isa isa) {
    return std::string(select_gemm(group, isa).name);
  };
  const Isa avx2{Isa::kAvx2};
  const Isa avx_vnni{Isa::kAvx2, Isa::kAvxVnni};
  const Isa skylake{Isa::kAvx2, Isa::kAvx512};
  const Isa ice_lake{Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni};
  const Isa zen = ice_lake | Isa{Isa::kAvxVnni, Isa::kAvx512Bf16};
  EXPECT_EQ(name(GemmGroup::kF32, Isa{}), "scalar.fp32");
  EXPECT_EQ(name(GemmGroup::kF32, avx2), "avx2.fp32");
  EXPECT_EQ(name(GemmGroup::kF32, zen), "avx512.fp32");
  EXPECT_EQ(name(GemmGroup::kBf16, ice_lake), "avx512.bf16");
  EXPECT_EQ(name(GemmGroup::kBf16, zen), "avx512_bf16.bf16");
  EXPECT_EQ(name(GemmGroup::kI4G32, Isa{}), "scalar.int4g32");
  EXPECT_EQ(name(GemmGroup::kI4G32, avx2), "avx2.int4g32");
  EXPECT_EQ(name(GemmGroup::kI4G32, avx_vnni), "avx_vnni.int4g32");
  EXPECT_EQ(name(GemmGroup::kI4G32, skylake), "avx512.int4g32");
  EXPECT_EQ(name(GemmGroup::kI8, ice_lake), "avx512_vnni.int8");
  EXPECT_EQ(name(GemmGroup::kI8, zen), "avx512_vnni.int8");
  const Isa sapphire_rapids =
      ice_lake | Isa{Isa::kAvx512Bf16, Isa::kAmxTile, Isa::kAmxInt8, Isa::kAmxBf16};
  EXPECT_EQ(name(GemmGroup::kI8, sapphire_rapids), "amx.int8");
  EXPECT_EQ(name(GemmGroup::kI4G32, sapphire_rapids), "amx.int4g32");
  EXPECT_EQ(name(GemmGroup::kI8G16K, sapphire_rapids), "avx512_vnni.int8g16k");
  EXPECT_EQ(name(GemmGroup::kBf16, sapphire_rapids), "amx.bf16");
  // Tiles need the permission of the system, which kAmxTile stands for.
  EXPECT_EQ(name(GemmGroup::kI8, ice_lake | Isa{Isa::kAmxInt8}), "avx512_vnni.int8");
  // Where bf16 is multiplied, one sequence is rounded like a prompt.
  for (const int rows : {1, 16, 17}) {
    EXPECT_EQ(gemm_path(select_gemm(GemmGroup::kBf16, zen), rows).x, GemmX::kBf16);
    EXPECT_EQ(gemm_path(select_gemm(GemmGroup::kBf16, ice_lake), rows).x, GemmX::kF32);
  }
}

TEST(Gemm, EveryDTypePacksOrIsRefusedByName) {
  std::vector<std::byte> bytes(256 * 4, std::byte{0});
  for (const DTypeInfo& info : dtypes()) {
    // w8a8 rows have their scale behind them.
    const int64_t stride = info.dtype == DType::kW8A8 ? 260 : 256;
    const Tensor part(bytes.data(), info.dtype, {1, 256}, stride);
    const bool refused =
        info.dtype == DType::kI32 || info.dtype == DType::kI4 || info.dtype == DType::kI4Asym;
    if (refused) {
      try {
        PackedWeight::pack({&part, 1}, {}, pool(1));
        ADD_FAILURE() << info.name << " was packed";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
        EXPECT_THAT(error.what(), testing::HasSubstr(info.name));
      }
    } else {
      EXPECT_EQ(PackedWeight::pack({&part, 1}, {}, pool(1)).n(), 1) << info.name;
    }
  }
}

TEST(Gemm, PackedBytesAreKnownBeforePacking) {
  const int64_t n = 19;
  const int64_t k = 256;
  for (const WeightType& type : kWeightTypes) {
    const std::vector<std::byte> bytes = random_weight(type.source, n, k, 1);
    const Tensor part(const_cast<std::byte*>(bytes.data()), type.source, {n, k});
    const PackedWeight weight = PackedWeight::pack({&part, 1}, {.dtype = type.packed}, pool(1));
    EXPECT_EQ(packed_weight_bytes(n, k, type.source, type.packed), weight.bytes())
        << type_name(type);
  }
  EXPECT_THROW(packed_weight_bytes(n, k, DType::kI32, std::nullopt), Error);
}

// Odd rows and a k that ends inside a group; every ISA packs the same bytes.
TEST(Gemm, QuantisingGivesTheSameBytesOnEveryIsa) {
  const int64_t n = 18, k = 333, stride = 384;
  std::vector<float> w = random_normal(kPanelRows * stride, 40);
  w[5 * stride + 40] = std::nanf("");
  for (int64_t i = 0; i < 64; ++i) w[static_cast<size_t>(7 * stride + 64 + i)] = 0.0f;
  w[3 * stride + 100] = 1e30f;  // beyond fp16
  std::vector<std::byte> expected(1 << 16), actual(1 << 16);
  for (const GemmQuantizer& scalar : kGemmQuantizersScalar.list()) {
    std::fill(expected.begin(), expected.end(), std::byte{1});
    scalar.quantize(w.data(), stride, stride, expected.data());
    for (const GemmQuantizerTable* table : gemm_quantizer_tables()) {
      if (!cpu_isa().has(table->needs)) continue;
      std::fill(actual.begin(), actual.end(), std::byte{1});
      select_gemm_quantizer(scalar.group, table->needs)(w.data(), stride, stride, actual.data());
      EXPECT_EQ(actual, expected) << gemm_layout(scalar.group).name;
    }
  }
  EXPECT_EQ(select_gemm_quantizer(GemmGroup::kBf16, cpu_isa()), nullptr);
  const Tensor part(w.data(), DType::kF32, {n, k});
  EXPECT_EQ(PackedWeight::pack({&part, 1}, {DType::kI4G128}, pool(2)).n(), n);
}

// The scale of a group is searched for: better than the one that its largest value alone would
// give, and values that are multiples of a scale stay as they are.
TEST(Gemm, Int4ScalesHaveASmallSquaredError) {
  for (const int64_t group : {32, 64, 128}) {
    SCOPED_TRACE(group);
    double searched = 0.0, plain = 0.0;
    for (uint32_t seed = 0; seed < 200; ++seed) {
      const std::vector<float> values = random_normal(group, seed);
      float largest = values[0];
      for (const float value : values) {
        if (std::abs(value) > std::abs(largest)) largest = value;
      }
      std::vector<float> actual = values;
      quantize_int4(actual.data(), group, group);
      const float d = half(largest / -8.0f);
      for (size_t i = 0; i < values.size(); ++i) {
        const float by_largest = d * std::clamp(std::nearbyint(values[i] / d), -8.0f, 7.0f);
        searched += std::pow(values[i] * (actual[i] - values[i]), 2.0);
        plain += std::pow(values[i] * (by_largest - values[i]), 2.0);
      }
    }
    EXPECT_LT(searched, 0.9 * plain);

    std::vector<float> multiples;
    for (int64_t i = 0; i < group; ++i)
      multiples.push_back(0.125f * static_cast<float>(i % 16 - 8));
    std::vector<float> same = multiples;
    quantize_int4(same.data(), group, group);
    EXPECT_EQ(same, multiples);
  }
}

TEST(Gemm, RefusesShapesThatDoNotMatch) {
  std::vector<float> values(64);
  const Tensor part(values.data(), DType::kF32, {4, 8});
  const Tensor other(values.data(), DType::kF32, {4, 9});
  const std::array<Tensor, 2> parts = {part, other};
  EXPECT_THROW(PackedWeight::pack(parts, {}, pool(1)), Error);
  EXPECT_THROW(PackedWeight::pack({}, {}, pool(1)), Error);
  const PackedWeight w = PackedWeight::pack({&part, 1}, {}, pool(1));
  Workspace workspace;
  EXPECT_THROW(gemm(Tensor(values.data(), DType::kF32, {2, 7}), w, {},
                    Tensor(values.data(), DType::kF32, {2, 4}), workspace, pool(1)),
               Error);
  EXPECT_THROW(gemm(Tensor(values.data(), DType::kF32, {2, 8}), w, {},
                    Tensor(values.data(), DType::kF32, {2, 5}), workspace, pool(1)),
               Error);
}

TEST(Gemm, ZeroRowsAreNothingToDo) {
  std::vector<float> values(64, 1.0f);
  const Tensor part(values.data(), DType::kF32, {4, 8});
  const PackedWeight w = PackedWeight::pack({&part, 1}, {}, pool(1));
  Workspace workspace;
  gemm(Tensor(values.data(), DType::kF32, {0, 8}), w, {},
       Tensor(values.data(), DType::kF32, {0, 4}), workspace, pool(2));
}

// Quantising must not divide by zero, nor hide that a model has gone wrong.
TEST(Gemm, ZeroActivationsGiveZeroAndNanStaysNan) {
  const int64_t n = 20, k = 256;
  for (const WeightType& type : kWeightTypes) {
    std::vector<std::byte> bytes = random_weight(type.source, n, k, 30);
    for (const Isa isa : {Isa{}, cpu_isa()}) {
      const PackedWeight packed = pack_one(bytes, type, n, k, isa);
      std::vector<float> x(static_cast<size_t>(2 * k), 0.0f);
      x[static_cast<size_t>(k + 40)] = std::nanf("");
      const std::vector<float> y = run_gemm(x, 2, packed);
      for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
        EXPECT_EQ(y[i], 0.0f) << type_name(type);
        EXPECT_TRUE(std::isnan(y[static_cast<size_t>(n) + i])) << type_name(type);
      }
    }
  }
}

}  // namespace
}  // namespace lanner
