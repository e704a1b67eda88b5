// SPDX-License-Identifier: Apache-2.0
#include "weights/mxfp4.h"

#include <cmath>
#include <cstring>
#include <random>

#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/convert/convert.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

// OCP Microscaling Formats 1.0, section 5.3.3: e2m1.
float e2m1(int bits) {
  const int exponent = bits >> 1 & 3, mantissa = bits & 1;
  const float value = exponent == 0
                          ? 0.5f * static_cast<float>(mantissa)
                          : std::ldexp(1.0f + 0.5f * static_cast<float>(mantissa), exponent - 1);
  return (bits & 8) != 0 ? -value : value;
}

TEST(Mxfp4, TheValuesStayAsTheyAre) {
  constexpr int64_t kExperts = 2, kRows = 3, kBlocks = 5;
  std::mt19937 random(1);
  std::vector<uint8_t> values(kExperts * kRows * kBlocks * 16), scales(kExperts * kRows * kBlocks);
  for (uint8_t& value : values) value = static_cast<uint8_t>(random());
  for (uint8_t& scale : scales) scale = static_cast<uint8_t>(105 + random() % 37);
  ThreadPool threads(3);
  const CheckpointTensor packed = mxfp4_to_q8_0(
      Tensor(values.data(), DType::kU8, Shape{kExperts, kRows, kBlocks, 16}),
      Tensor(scales.data(), DType::kU8, Shape{kExperts, kRows, kBlocks}), "x", threads);
  EXPECT_EQ(packed.view.dtype(), DType::kQ8_0);
  EXPECT_EQ(packed.view.shape(), (Shape{kExperts * kRows, kBlocks * 32}));
  std::vector<float> actual(values.size() * 2);
  select_convert(DType::kQ8_0, DType::kF32)(packed.view.raw(), static_cast<int64_t>(actual.size()),
                                            actual.data());
  for (size_t i = 0; i < actual.size(); ++i) {
    const int bits = i % 2 == 0 ? values[i / 2] & 15 : values[i / 2] >> 4;
    ASSERT_EQ(actual[i], std::ldexp(e2m1(bits), scales[i / 32] - 127)) << i;
  }
}

TEST(Mxfp4, GgmlsBlocksHoldTheSameValues) {
  constexpr int64_t kRows = 3, kBlocks = 5;
  std::mt19937 random(2);
  std::vector<uint8_t> values(kRows * kBlocks * 16), scales(kRows * kBlocks), blocks;
  for (uint8_t& value : values) value = static_cast<uint8_t>(random());
  for (uint8_t& scale : scales) scale = static_cast<uint8_t>(105 + random() % 37);
  for (size_t b = 0; b < scales.size(); ++b) {
    const auto element = [&](size_t i) {
      const int byte = values[b * 16 + i / 2];
      return i % 2 == 0 ? byte & 15 : byte >> 4;
    };
    blocks.push_back(scales[b]);
    for (size_t i = 0; i < 16; ++i) {
      blocks.push_back(static_cast<uint8_t>(element(i) | element(i + 16) << 4));
    }
  }
  ThreadPool threads(1);
  const CheckpointTensor expected =
      mxfp4_to_q8_0(Tensor(values.data(), DType::kU8, Shape{kRows, kBlocks, 16}),
                    Tensor(scales.data(), DType::kU8, Shape{kRows, kBlocks}), "x", threads);
  const CheckpointTensor actual =
      ggml_mxfp4_to_q8_0(blocks.data(), Shape{kRows, kBlocks * 32}, "x");
  ASSERT_EQ(actual.view.shape(), expected.view.shape());
  EXPECT_EQ(std::memcmp(actual.view.raw(), expected.view.raw(),
                        static_cast<size_t>(expected.view.bytes())),
            0);
  blocks[0] = 1;
  blocks[1] = 7;
  expect_error(ErrorCode::kUnsupported, {"x.y", "2^-126"},
               [&] { ggml_mxfp4_to_q8_0(blocks.data(), Shape{32}, "x.y"); });
}

TEST(Mxfp4, ScalesThatFp16LacksAreRefusedUnlessTheBlockIsZero) {
  std::vector<uint8_t> values(16, 0x80), scales = {1};
  ThreadPool threads(1);
  const auto run = [&] {
    mxfp4_to_q8_0(Tensor(values.data(), DType::kU8, Shape{1, 1, 16}),
                  Tensor(scales.data(), DType::kU8, Shape{1, 1}), "experts.x", threads);
  };
  run();
  values[3] = 0x10;
  expect_error(ErrorCode::kUnsupported, {"experts.x", "2^-126", "bf16"}, run);
  scales[0] = 250;
  expect_error(ErrorCode::kUnsupported, {"experts.x", "2^123"}, run);
}

}  // namespace
}  // namespace lanner
