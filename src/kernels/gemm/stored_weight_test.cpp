// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/stored_weight.h"

#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/testing/random.h"
#include "kernels/convert/convert.h"
#include "kernels/gemm/packed_weight.h"

namespace lanner {
namespace {

constexpr DType kPackings[] = {DType::kF32,   DType::kF16,    DType::kBf16,
                               DType::kI8,    DType::kW8A8,   DType::kI4,
                               DType::kI4G64, DType::kI4G128, DType::kI4Asym};

std::vector<std::byte> packed_bytes(const Tensor& x, DType packing, ThreadPool& threads) {
  const PackedWeight packed = PackedWeight::pack({&x, 1}, {.dtype = packing}, threads);
  const PackedWeight::Impl& impl = packed.impl();
  std::vector<std::byte> bytes(impl.data.data(), impl.data.data() + impl.data.size());
  bytes.insert(bytes.end(), impl.scales.data(), impl.scales.data() + impl.scales.size());
  return bytes;
}

// What matters: packing the stored rows gives the bytes that packing their source gives.
TEST(StoredWeight, PacksToTheBytesOfItsSource) {
  ThreadPool threads(2);
  for (const DType packing : kPackings) {
    // Whole panels: rows past the last are zeros of one kind or another.
    for (const int64_t n : {16, 48}) {
      for (const int64_t k : {128, 256, 384}) {
        std::vector<float> values = random_normal(n * k, static_cast<uint32_t>(n + k));
        values[0] = 40.0f;
        for (int64_t i = 0; i < 32; ++i) values[static_cast<size_t>(i + 64)] = 0.0f;
        const Tensor x(values.data(), DType::kF32, Shape{n, k});
        const auto row_bytes = stored_row_bytes(packing, k);
        ASSERT_TRUE(row_bytes.has_value());
        std::vector<std::byte> rows(static_cast<size_t>(n * *row_bytes));
        quantize_rows(x, packing, rows.data(), threads);
        const Tensor stored = stored_tensor(rows.data(), packing, n, k);
        EXPECT_EQ(stored.shape(), (Shape{n, k}));
        EXPECT_EQ(packed_bytes(stored, packing, threads), packed_bytes(x, packing, threads))
            << dtype_name(packing) << " " << n << " " << k;
        // Quantised once more, they stay.
        std::vector<std::byte> again(rows.size());
        quantize_rows(stored, packing, again.data(), threads);
        EXPECT_EQ(again, rows) << dtype_name(packing);
      }
    }
  }
}

// The block types of GGUF mean what their readers say.
TEST(StoredWeight, BlocksStandForTheSourcesValues) {
  ThreadPool threads(1);
  const int64_t n = 3, k = 64;
  std::vector<float> values = random_normal(n * k, 7);
  const Tensor x(values.data(), DType::kF32, Shape{n, k});
  struct Case {
    DType packing;
    float tolerance;
  };
  for (const Case& c :
       {Case{DType::kI8, 0.02f}, Case{DType::kI4, 0.35f}, Case{DType::kI4Asym, 0.25f}}) {
    std::vector<std::byte> rows(static_cast<size_t>(n * *stored_row_bytes(c.packing, k)));
    quantize_rows(x, c.packing, rows.data(), threads);
    std::vector<float> read(static_cast<size_t>(n * k));
    select_convert(stored_dtype(c.packing), DType::kF32)(rows.data(), n * k, read.data());
    for (size_t i = 0; i < read.size(); ++i) EXPECT_NEAR(read[i], values[i], c.tolerance);
  }
}

TEST(StoredWeight, RefusesWhatItCannotHold) {
  ThreadPool threads(1);
  EXPECT_FALSE(stored_row_bytes(DType::kI4, 48).has_value());
  EXPECT_EQ(stored_row_bytes(DType::kW8A8, 48), 52);
  std::vector<float> values(48);
  std::vector<std::byte> rows(256);
  EXPECT_THROW(quantize_rows(Tensor(values.data(), DType::kF32, Shape{1, 48}), DType::kI4,
                             rows.data(), threads),
               Error);
  // A scale that is not there, and another type than the stored one.
  const Tensor no_scale(rows.data(), DType::kW8A8, Shape{1, 64});
  EXPECT_THROW(PackedWeight::pack({&no_scale, 1}, {}, threads), Error);
  const Tensor stored = stored_tensor(rows.data(), DType::kI4G64, 1, 64);
  EXPECT_THROW(PackedWeight::pack({&stored, 1}, {.dtype = DType::kI8}, threads), Error);
}

}  // namespace
}  // namespace lanner
