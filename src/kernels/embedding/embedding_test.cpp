// SPDX-License-Identifier: Apache-2.0
#include "kernels/embedding/embedding.h"

#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/convert/convert.h"
#include "kernels/testing/matrix.h"

namespace lanner {
namespace {

bool is_embeddable(DType dtype) { return !is_packing(dtype) && dtype != DType::kI32; }

// Random bytes, but for the floats: those may be NaN, which equals nothing.
std::vector<std::byte> random_table(DType dtype, int64_t elements) {
  std::vector<std::byte> bytes(static_cast<size_t>(dtype_bytes(dtype, elements)));
  std::mt19937 generator(7);
  // 0x00 … 0x3f: no exponent of a fp16, bf16 or fp32 number or scale is all ones.
  for (std::byte& byte : bytes) byte = std::byte(generator() % 64);
  return bytes;
}

class EmbeddingTest : public testing::TestWithParam<DTypeInfo> {};

TEST_P(EmbeddingTest, TakesTheRowOfEachIdOrRefusesTheType) {
  const DType dtype = GetParam().dtype;
  constexpr int64_t kVocab = 50, kHidden = 512;
  std::vector<std::byte> memory = random_table(dtype, kVocab * kHidden);
  const Tensor table(memory.data(), dtype, {kVocab, kHidden});
  if (!is_embeddable(dtype)) {
    TestMatrix y(1, kHidden);
    ThreadPool threads(1);
    EXPECT_THROW(embedding(table, std::vector<int32_t>{0}, y.tensor(), threads), Error);
    return;
  }
  std::vector<int32_t> ids = {49, 0, 7, 7};
  for (int i = 0; i < 80; ++i) ids.push_back(i * 31 % 50);
  const ConvertRowFn convert_row = select_convert(dtype, DType::kF32, Isa{});
  for (int num_threads = 1; num_threads <= 4; ++num_threads) {
    SCOPED_TRACE(num_threads);
    ThreadPool threads(num_threads);
    TestMatrix y(static_cast<int64_t>(ids.size()), kHidden);
    embedding(table, ids, y.tensor(), threads);
    for (size_t t = 0; t < ids.size(); ++t) {
      std::vector<float> expected(kHidden);
      convert_row(table.raw_row(ids[t]), kHidden, expected.data());
      const auto row = y.row(static_cast<int64_t>(t));
      EXPECT_EQ(std::vector<float>(row.begin(), row.end()), expected) << "token " << t;
    }
    EXPECT_TRUE(y.gaps_are_untouched());
  }
}

INSTANTIATE_TEST_SUITE_P(AllTypes, EmbeddingTest,
                         testing::ValuesIn(dtypes().begin(), dtypes().end()),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Embedding, TakesAViewWithARowStride) {
  TestMatrix table = TestMatrix::random(5, 9, /*seed=*/1, /*gap=*/4);
  TestMatrix y(2, 9);
  ThreadPool threads(1);
  const std::vector<int32_t> ids = {3, 1};
  embedding(table.tensor(), ids, y.tensor(), threads);
  EXPECT_TRUE(std::equal(y.row(0).begin(), y.row(0).end(), table.row(3).begin()));
  EXPECT_TRUE(std::equal(y.row(1).begin(), y.row(1).end(), table.row(1).begin()));
}

TEST(Embedding, RefusesIdsOutsideTheVocabularyAndWritesNothing) {
  TestMatrix table = TestMatrix::random(5, 8, /*seed=*/1);
  ThreadPool threads(2);
  for (int32_t bad :
       {5, -1, std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min()}) {
    TestMatrix y(2, 8);
    const std::vector<int32_t> ids = {0, bad};
    EXPECT_THROW(embedding(table.tensor(), ids, y.tensor(), threads), Error);
    EXPECT_EQ(y.row(0)[0], TestMatrix::kGap);
  }
}

TEST(Embedding, RefusesWhatDoesNotMatch) {
  TestMatrix table = TestMatrix::random(5, 8, /*seed=*/1);
  TestMatrix good(2, 8), narrow(2, 7), few(1, 8);
  ThreadPool threads(1);
  const std::vector<int32_t> ids = {0, 1};
  EXPECT_NO_THROW(embedding(table.tensor(), ids, good.tensor(), threads));
  EXPECT_THROW(embedding(table.tensor(), ids, narrow.tensor(), threads), Error);
  EXPECT_THROW(embedding(table.tensor(), ids, few.tensor(), threads), Error);
}

}  // namespace
}  // namespace lanner
