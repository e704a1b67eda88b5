// SPDX-License-Identifier: Apache-2.0
#include "engine/memory_plan.h"

#include <limits>

#include <gtest/gtest.h>

#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kGiB = int64_t{1} << 30;

// Llama 3.1 8B as Q4_K: 32 layers, 8 KV heads of 128, fp16, blocks of 32 tokens, context 128k.
MemoryRequest llama_8b(int64_t available) {
  return {.available_bytes = available,
          .weight_bytes = 5 * kGiB,
          .kv_bytes_per_block = int64_t{32} * 2 * 8 * 128 * 2 * 32,
          .block_size = 32,
          .model_max_context = 131072,
          .max_sequences = 64,
          .requested_context = 0,
          .requested_kv_bytes = 0};
}

TEST(MemoryPlan, CutsALongContextDownToHalfOfWhatTheWeightsLeave) {
  const MemoryPlan plan = plan_memory(llama_8b(15 * kGiB));
  const int64_t left = 15 * kGiB - 5 * kGiB - 256 * kMiB;
  EXPECT_EQ(plan.kv_bytes_per_token, 131072);
  EXPECT_LE(plan.kv_bytes, left / 2);
  EXPECT_GT(plan.kv_bytes, left / 2 - 4 * kMiB);
  EXPECT_EQ(plan.max_context, plan.kv_bytes / 131072);
  EXPECT_EQ(plan.max_context, 39936);
  EXPECT_EQ(plan.num_blocks * 32, plan.max_context);
}

TEST(MemoryPlan, HoldsTheWholeContextWhereThereIsRoom) {
  const MemoryPlan plan = plan_memory(llama_8b(64 * kGiB));
  EXPECT_EQ(plan.max_context, 131072);
  EXPECT_GT(plan.kv_bytes, 16 * kGiB) << "more than one sequence may run";
  EXPECT_LE(plan.kv_bytes, 30 * kGiB);
}

TEST(MemoryPlan, TakesNoMoreThanAllSequencesNeed) {
  MemoryRequest request = llama_8b(64 * kGiB);
  request.requested_context = 1000;
  request.max_sequences = 3;
  const MemoryPlan plan = plan_memory(request);
  EXPECT_EQ(plan.num_blocks, 3 * 32) << "1000 tokens are 32 blocks";
  EXPECT_EQ(plan.max_context, 1000);
}

TEST(MemoryPlan, GivesMoreThanHalfToAContextThatWasAskedFor) {
  MemoryRequest request = llama_8b(15 * kGiB);
  request.requested_context = 65536;  // 8 GiB of the 9.75 left
  const MemoryPlan plan = plan_memory(request);
  EXPECT_EQ(plan.max_context, 65536);
  EXPECT_EQ(plan.kv_bytes, 8 * kGiB);
}

TEST(MemoryPlan, AsksForASmallContextRatherThanNone) {
  // 256 tokens are 32 MiB; half of what is left would be 20.
  const MemoryPlan plan = plan_memory(llama_8b(5 * kGiB + (256 + 40) * kMiB));
  EXPECT_EQ(plan.max_context, 256);
}

TEST(MemoryPlan, RefusesWithTheSum) {
  MemoryRequest request = llama_8b(15 * kGiB);
  request.requested_context = 131072;
  expect_error(ErrorCode::kResourceExhausted,
               {"weights 5120 MiB", "KV cache 16384 MiB", "131072 tokens", "256 MiB for computing",
                "15360 MiB available", "max_context"},
               [&] { plan_memory(request); });
  expect_error(ErrorCode::kResourceExhausted, {"weights 5120 MiB", "4096 MiB available"},
               [] { plan_memory(llama_8b(4 * kGiB)); });
  request = llama_8b(15 * kGiB);
  request.requested_kv_bytes = 11 * kGiB;
  expect_error(ErrorCode::kResourceExhausted, {"KV cache 11264 MiB"},
               [&] { plan_memory(request); });
}

TEST(MemoryPlan, RefusesAContextThatTheModelOrTheRequestedCacheCannotHold) {
  MemoryRequest request = llama_8b(64 * kGiB);
  request.requested_context = 131073;
  expect_error(ErrorCode::kInvalidArgument, {"131073", "131072"}, [&] { plan_memory(request); });
  request.requested_context = 4096;
  request.requested_kv_bytes = 64 * kMiB;
  expect_error(ErrorCode::kInvalidArgument, {"64.0 MiB", "512 tokens", "4096", "512.0 MiB"},
               [&] { plan_memory(request); });
  request.requested_context = 0;
  request.requested_kv_bytes = 1;
  expect_error(ErrorCode::kInvalidArgument, {"holds 0 tokens"}, [&] { plan_memory(request); });
}

TEST(MemoryPlan, TakesTheRequestedCacheAsItIs) {
  MemoryRequest request = llama_8b(64 * kGiB);
  request.requested_kv_bytes = 4 * kMiB + 5;
  const MemoryPlan plan = plan_memory(request);
  EXPECT_EQ(plan.num_blocks, 1);
  EXPECT_EQ(plan.max_context, 32);
}

TEST(MemoryPlan, StaysInRangeForValuesWithoutMeasure) {
  MemoryRequest request = llama_8b(0);  // nothing known of the machine
  request.max_sequences = std::numeric_limits<int>::max();
  request.kv_bytes_per_block = 64;
  request.block_size = 1;
  const MemoryPlan plan = plan_memory(request);
  EXPECT_EQ(plan.num_blocks, std::numeric_limits<int32_t>::max());
  EXPECT_EQ(plan.max_context, 131072);
}

}  // namespace
}  // namespace lanner
