// SPDX-License-Identifier: Apache-2.0
#include "base/tensor.h"

#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/checked.h"
#include "base/function_ref.h"
#include "base/kv_layout.h"

namespace lanner {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

template <typename Function>
ErrorCode code_of(Function function) {
  try {
    function();
  } catch (const Error& e) {
    return e.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorCode::kInternal;
}

TEST(Checked, GivesTheResultOrNamesTheOverflow) {
  EXPECT_EQ(checked_add<int64_t>(kMax - 1, 1, "sum"), kMax);
  EXPECT_EQ(checked_mul<int64_t>(kMax / 2, 2, "product"), kMax - 1);
  EXPECT_EQ((checked_cast<uint8_t>(255, "byte")), 255);
  EXPECT_EQ(code_of([] { checked_add<int64_t>(kMax, 1, "sum"); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([] { checked_mul<size_t>(SIZE_MAX, 2, "x"); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([] { checked_cast<uint8_t>(256, "x"); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([] { checked_cast<size_t>(-1, "x"); }), ErrorCode::kInvalidArgument);
  try {
    checked_add<int64_t>(kMax, 1, "[gguf] tensor size");
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "[gguf] tensor size overflows: 9223372036854775807 + 1");
  }
}

TEST(Checked, RoundsUp) {
  EXPECT_EQ(round_up(0, 64), 0);
  EXPECT_EQ(round_up(1, 64), 64);
  EXPECT_EQ(round_up(64, 64), 64);
  EXPECT_EQ(ceil_div(7, 3), 3);
  EXPECT_EQ(ceil_div(6, 3), 2);
  EXPECT_EQ(ceil_div(kMax, 2), kMax / 2 + 1);
}

TEST(DTypes, AreListedInTheOrderOfTheEnumWithUniqueNames) {
  std::set<std::string> names;
  for (size_t i = 0; i < dtypes().size(); ++i) {
    const DTypeInfo& info = dtypes()[i];
    EXPECT_EQ(static_cast<size_t>(info.dtype), i);
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    EXPECT_EQ(parse_dtype(info.name), info.dtype);
    EXPECT_EQ(fmt::format("{}", info.dtype), info.name);
    EXPECT_EQ(dtype_bytes(info.dtype, 512), int64_t{512} / info.block_elements * info.block_bytes);
  }
  EXPECT_EQ(dtypes().back().dtype, DType::kQ6K);
  EXPECT_EQ(parse_dtype("FP32"), std::nullopt);
  EXPECT_EQ(parse_dtype(""), std::nullopt);
  EXPECT_EQ(code_of([] { dtype_info(static_cast<DType>(200)); }), ErrorCode::kInternal);
}

// The sizes are ggml's (ggml-common.h): scales, minima and quants of a block.
TEST(DTypes, OfGgufHaveItsBlockSizes) {
  EXPECT_EQ(dtype_bytes(DType::kQ4_0, 32), 2 + 16);
  EXPECT_EQ(dtype_bytes(DType::kQ4_1, 32), 2 + 2 + 16);
  EXPECT_EQ(dtype_bytes(DType::kQ5_0, 32), 2 + 4 + 16);
  EXPECT_EQ(dtype_bytes(DType::kQ5_1, 32), 2 + 2 + 4 + 16);
  EXPECT_EQ(dtype_bytes(DType::kQ8_0, 32), 2 + 32);
  EXPECT_EQ(dtype_bytes(DType::kQ2K, 256), 16 + 64 + 2 + 2);
  EXPECT_EQ(dtype_bytes(DType::kQ3K, 256), 32 + 64 + 12 + 2);
  EXPECT_EQ(dtype_bytes(DType::kQ4K, 256), 2 + 2 + 12 + 128);
  EXPECT_EQ(dtype_bytes(DType::kQ5K, 256), 2 + 2 + 12 + 32 + 128);
  EXPECT_EQ(dtype_bytes(DType::kQ6K, 256), 128 + 64 + 16 + 2);
}

TEST(DTypes, RefuseAPartOfABlock) {
  EXPECT_EQ(code_of([] { dtype_bytes(DType::kQ4_0, 33); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([] { dtype_bytes(DType::kI4, 1); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([] { dtype_bytes(DType::kF32, -1); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([] { dtype_bytes(DType::kF32, kMax); }), ErrorCode::kInvalidArgument);
}

TEST(Shape, KnowsItsSizes) {
  const Shape shape{2, 3, 4};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape.numel(), 24);
  EXPECT_EQ(shape.size(-1), 4);
  EXPECT_EQ(shape[0], 2);
  EXPECT_EQ(fmt::format("{}", shape), "[2, 3, 4]");
  EXPECT_EQ(Shape{}.numel(), 1) << "a scalar";
  EXPECT_EQ((Shape{5, 0}.numel()), 0);
  EXPECT_NE((Shape{1, 2}), (Shape{1, 2, 0}));
  EXPECT_NE((Shape{0}), (Shape{}));
}

TEST(Shape, RefusesWhatCannotBe) {
  EXPECT_EQ(code_of([] { Shape{1, 1, 1, 1, 1}; }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([] { Shape{-1}; }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([] { (Shape{kMax, 2}); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([] { Shape{3}.size(1); }), ErrorCode::kInternal);
  EXPECT_EQ(code_of([] { Shape{3}.size(-2); }), ErrorCode::kInternal);
}

TEST(Tensor, ViewsRowsAndColumns) {
  std::vector<float> values(24);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const Tensor t(values.data(), DType::kF32, {2, 3, 4});
  EXPECT_EQ(t.num_rows(), 6);
  EXPECT_EQ(t.bytes(), 96);
  EXPECT_TRUE(t.is_contiguous());
  EXPECT_EQ(t.row<float>(5)[3], 23.0f);

  const Tensor rows = t.rows(2, 4);
  EXPECT_EQ(rows.shape(), (Shape{2, 4}));
  EXPECT_EQ(rows.data<float>()[0], 8.0f);

  const Tensor columns = t.columns(1, 3);
  EXPECT_EQ(columns.shape(), (Shape{6, 2}));
  EXPECT_FALSE(columns.is_contiguous());
  EXPECT_EQ(columns.row<float>(2)[1], 10.0f);
  EXPECT_EQ(columns.rows(1, 3).row<float>(1)[0], 9.0f) << "rows of a view keep its stride";

  EXPECT_EQ(t.reshaped({4, 6}).row<float>(1)[0], 6.0f);
  EXPECT_EQ(code_of([&] { columns.reshaped({12}); }), ErrorCode::kInternal);
  EXPECT_EQ(code_of([&] { t.rows(3, 7); }), ErrorCode::kInternal);
  EXPECT_EQ(code_of([&] { t.columns(0, 5); }), ErrorCode::kInternal);
}

TEST(Tensor, GivesDataOnlyOfItsOwnType) {
  uint16_t half = 0;
  const Tensor t(&half, DType::kBf16, {1});
  EXPECT_EQ(t.data<uint16_t>(), &half);
  EXPECT_NE(t.data<const std::byte>(), nullptr);
  EXPECT_EQ(code_of([&] { t.data<float>(); }), ErrorCode::kInternal);
}

TEST(Tensor, CountsTheBytesOfAScalarAndOfNothing) {
  float value = 0;
  EXPECT_EQ(Tensor(&value, DType::kF32, {}).bytes(), 4);
  EXPECT_EQ(Tensor(nullptr, DType::kF32, {5, 0}).bytes(), 0);
  EXPECT_EQ(Tensor(nullptr, DType::kF32, {0, 5}).bytes(), 0);
  EXPECT_EQ(Tensor().bytes(), 0);
}

TEST(Tensor, RefusesOverlappingRowsAndSizesThatOverflow) {
  float values[8] = {};
  EXPECT_EQ(code_of([&] { Tensor(values, DType::kF32, {2, 4}, 3); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { Tensor(values, DType::kF32, {2, 4}, -4); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { Tensor(values, DType::kQ8_0, {2, 33}); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { Tensor(values, DType::kQ8_0, {2, 33}, 64); }),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { Tensor(values, DType::kF32, {int64_t{1} << 60, 4}); }),
            ErrorCode::kInvalidArgument);
}

TEST(FunctionRef, CallsWithoutACopyAndMayDropAResult) {
  int calls = 0;
  auto counter = [&calls](int by) { return calls += by; };
  const FunctionRef<void(int)> drop = counter;
  const FunctionRef<int(int)> keep = counter;
  drop(2);
  EXPECT_EQ(keep(3), 5);
}

TEST(KvLayout, PlacesEveryElementOnce) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16}) {
    const KvLayout layout{dtype, 32, 2, 6, 10};
    std::set<int64_t> offsets;
    for (int token = 0; token < layout.block_size; ++token) {
      for (int d = 0; d < layout.head_dim; ++d) offsets.insert(layout.k_element(token, d));
    }
    EXPECT_EQ(static_cast<int64_t>(offsets.size()), int64_t{32} * 6);
    EXPECT_EQ(*offsets.begin(), 0);
    EXPECT_EQ(*offsets.rbegin(), 32 * 6 - 1);
    EXPECT_EQ(layout.v_offset(1) - layout.k_offset(1), layout.k_bytes());
    EXPECT_GE(layout.k_offset(1), layout.v_offset(0) + layout.v_bytes());
    EXPECT_EQ(layout.block_bytes() % 64, 0);
  }
}

}  // namespace
}  // namespace lanner
