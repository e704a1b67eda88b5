// SPDX-License-Identifier: Apache-2.0
#include "base/buffer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/workspace.h"

namespace lanner {
namespace {

bool is_aligned(const void* data, size_t alignment) {
  return reinterpret_cast<uintptr_t>(data) % alignment == 0;
}

TEST(Buffer, IsAlignedAndZeroAtFirst) {
  for (const size_t bytes :
       {size_t{1}, size_t{63}, size_t{64}, size_t{4097}, Buffer::kHugePageBytes - 1,
        Buffer::kHugePageBytes, Buffer::kHugePageBytes * 2 + 1}) {
    const Buffer buffer(bytes);
    ASSERT_EQ(buffer.size(), bytes);
    EXPECT_TRUE(is_aligned(buffer.data(), Buffer::kAlignment));
    if (bytes >= Buffer::kHugePageBytes) {
      EXPECT_TRUE(is_aligned(buffer.data(), Buffer::kHugePageBytes)) << "else no huge page fits";
    }
    EXPECT_TRUE(std::all_of(buffer.data(), buffer.data() + bytes,
                            [](std::byte b) { return b == std::byte{0}; }));
    std::memset(buffer.data(), 0xab, bytes);
  }
}

TEST(Buffer, OfNothingIsEmpty) {
  EXPECT_TRUE(Buffer().empty());
  EXPECT_TRUE(Buffer(0).empty());
  EXPECT_EQ(Buffer(0).data(), nullptr);
}

TEST(Buffer, MovesItsMemory) {
  Buffer a(100);
  a.as<uint8_t>()[99] = 7;
  const std::byte* data = a.data();
  Buffer b(std::move(a));
  EXPECT_EQ(b.data(), data);
  EXPECT_TRUE(a.empty());  // NOLINT(bugprone-use-after-move): the state after it is promised
  Buffer c(Buffer::kHugePageBytes);
  c = std::move(b);
  EXPECT_EQ(c.as<uint8_t>()[99], 7);
  EXPECT_EQ(c.size(), 100u);
}

TEST(Buffer, RefusesWhatNoMachineHas) {
  for (const size_t bytes : {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 4, size_t{1} << 60}) {
    try {
      const Buffer buffer(bytes);
      FAIL() << bytes;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kResourceExhausted);
      EXPECT_NE(std::string(e.what()).find(std::to_string(bytes)), std::string::npos) << e.what();
    }
  }
}

TEST(Workspace, HandsOutAlignedMemoryThatDoesNotOverlap) {
  Workspace workspace;
  std::byte* last_end = nullptr;
  for (size_t bytes : {size_t{1}, size_t{64}, size_t{65}}) {
    std::byte* memory = workspace.allocate(bytes);
    EXPECT_TRUE(is_aligned(memory, Buffer::kAlignment));
    if (last_end != nullptr) {
      EXPECT_GE(memory, last_end);
    }
    last_end = memory + bytes;
  }
}

TEST(Workspace, TakesBackWhatAScopeAllocated) {
  Workspace workspace;
  std::byte* outer = workspace.allocate(100);
  std::byte* inner = nullptr;
  {
    const Workspace::Scope scope(workspace);
    inner = workspace.allocate(100);
    EXPECT_NE(inner, outer);
  }
  EXPECT_EQ(workspace.allocate(50), inner);
}

TEST(Workspace, KeepsTensorsValidWhenItGrowsAndThenStopsAllocating) {
  Workspace workspace;
  size_t capacity = 0;
  for (int step = 0; step < 3; ++step) {
    const Workspace::Scope scope(workspace);
    const Tensor a = workspace.tensor(DType::kF32, {1000, 1000});
    std::fill(a.data<float>(), a.data<float>() + a.numel(), 1.5f);
    for (int i = 0; i < 10; ++i) workspace.allocate(size_t{3} << 20);
    EXPECT_TRUE(std::all_of(a.data<float>(), a.data<float>() + a.numel(),
                            [](float x) { return x == 1.5f; }));
    if (step > 0) {
      EXPECT_EQ(workspace.capacity(), capacity);
    }
    capacity = workspace.capacity();
  }
}

TEST(Workspace, MakesTensorsOfEveryRank) {
  Workspace workspace;
  EXPECT_EQ(workspace.tensor(DType::kF32, {}).bytes(), 4);
  EXPECT_EQ(workspace.tensor(DType::kQ8_0, {2, 64}).bytes(), 136);
  EXPECT_EQ(workspace.tensor(DType::kF32, {3, 0}).bytes(), 0);
}

}  // namespace
}  // namespace lanner
