// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/attention.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/testing/tolerance.h"
#include "kernels/attention/plan.h"
#include "kernels/attention/testing/cases.h"

namespace lanner {
namespace {

constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBf16, DType::kI8};

Tolerance tolerance_of(DType dtype) {
  switch (select_attention(dtype).weights) {
    case AttentionWeights::kFixed16:
      return tolerance::kFixed16;
    case AttentionWeights::kBf16:
      return tolerance::kBf16;
    default:
      return tolerance::kReduction;
  }
}

void expect_equals_reference(const AttentionCase& c, uint32_t seed, int max_threads = 4) {
  AttentionWorld world(c, seed);
  const std::vector<float> expected = world.reference();
  for (int num_threads = 1; num_threads <= max_threads; ++num_threads) {
    ThreadPool threads(num_threads);
    ASSERT_THAT(world.run(threads), is_close_to(expected, tolerance_of(c.dtype)))
        << "seed " << seed << ", " << num_threads << " threads, heads " << c.num_heads << "/"
        << c.kv_heads << ", head_dim " << c.head_dim << "/" << c.v_head_dim << ", "
        << dtype_name(c.dtype) << ", window " << c.sliding_window << ", soft cap " << c.soft_cap
        << ", alibi " << c.alibi << ", sinks " << c.sinks << ", first sequence "
        << c.sequences[0].past << " + " << c.sequences[0].queries << ", prefix "
        << c.sequences[0].prefix << ", rotated " << c.rotated << ", flash from " << c.flash_from;
  }
}

TEST(Attention, EqualsTheDefinitionOnRandomShapes) {
  std::mt19937 generator(11);
  const auto pick = [&](std::initializer_list<int> values) {
    return values.begin()[generator() % values.size()];
  };
  for (uint32_t i = 0; i < 200; ++i) {
    AttentionCase c;
    c.kv_heads = pick({1, 1, 2, 3, 4});
    c.num_heads = c.kv_heads * pick({1, 1, 2, 3, 4, 7, 8});
    c.head_dim = pick({2, 6, 16, 18, 32, 64, 80, 96, 112, 192, 256});
    c.v_head_dim = pick({0, 1, 5, 16, 24, 33, 64});
    if (c.v_head_dim == 0) c.v_head_dim = c.head_dim;
    c.dtype = kDTypes[generator() % 4];
    c.rotated = c.dtype == DType::kI8 && pick({0, 1}) != 0;
    c.flash_from = pick({0, 1}) != 0 ? 0 : AttentionRule::kNever;
    c.block_size = pick({16, 32, 64});
    c.soft_cap = pick({0, 0, 1}) ? 2.5f : 0.0f;
    c.sliding_window = pick({0, 0, 1, 7, 16, 40});
    c.alibi = pick({0, 0, 1}) != 0;
    c.sinks = pick({0, 0, 1}) != 0;
    const int sequences = pick({1, 2, 4});
    for (int s = 0; s < sequences; ++s) {
      const int past = pick({0, 0, 1, 15, 16, 17, 50});
      const int queries = pick({1, 1, 2, 5, 16, 17, 45});
      c.sequences.push_back({past, queries, pick({0, 0, 1, past, past + 1, past + queries})});
    }
    expect_equals_reference(c, i + 1, 1 + static_cast<int>(i % 4));
  }
}

TEST(Attention, EqualsTheDefinitionAroundBlockEdges) {
  for (DType dtype : kDTypes) {
    for (int queries : {1, 2, 4, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65}) {
      for (int past : {0, 1, 15, 16, 17, 31, 32, 33}) {
        expect_equals_reference({.dtype = dtype, .sequences = {{past, queries}}}, 1, 2);
      }
    }
  }
}

TEST(Attention, TakesAnyNumberOfHeadsPerKvHead) {
  for (int kv_heads : {1, 2, 3}) {
    for (int group = 1; group <= 16; ++group) {
      expect_equals_reference({.num_heads = kv_heads * group,
                               .kv_heads = kv_heads,
                               .sequences = {{20, 1}, {0, 13}, {7, 3}}},
                              static_cast<uint32_t>(group), 2);
    }
  }
  expect_equals_reference({.num_heads = 71, .kv_heads = 1, .sequences = {{300, 1}, {3, 20}}}, 1);
}

TEST(Attention, SlidingWindowsOfAnySize) {
  for (int window : {1, 2, 15, 16, 17, 31, 33, 64, 99, 100, 101, 1000}) {
    expect_equals_reference({.sliding_window = window, .sequences = {{0, 100}, {99, 1}, {60, 40}}},
                            static_cast<uint32_t>(window), 3);
    // Windows far from the beginning, and of more than one chunk of decode.
    expect_equals_reference({.sliding_window = window * 7, .sequences = {{900, 1}, {700, 3}}}, 2,
                            2);
  }
}

TEST(Attention, APrefixSeesItselfInBothDirections) {
  for (int prefix : {1, 2, 12, 13, 15, 16, 17, 40, 69, 70}) {
    for (int window : {0, 9}) {
      expect_equals_reference(
          {.sliding_window = window, .sequences = {{0, 70, prefix}, {100, 5, prefix}}}, 1, 3);
    }
  }
  // Longer than the sequences beside it, and in decode's few rows.
  expect_equals_reference({.alibi = true, .sequences = {{0, 3, 3}, {0, 4, 2}, {500, 1, 400}}}, 2);
}

TEST(Attention, SinksTakeTheirShareOfTheSoftmax) {
  for (int group : {1, 8}) {
    expect_equals_reference({.num_heads = 2 * group,
                             .sinks = true,
                             .sequences = {{0, 50}, {0, 1}, {700, 1}, {300, 40}}},
                            1, 3);
    expect_equals_reference(
        {.num_heads = 2 * group, .sliding_window = 16, .sinks = true, .sequences = {{40, 50}}}, 2);
  }
}

// A sink far above or below every score must not overflow.
TEST(Attention, SinksOfAnySize) {
  AttentionWorld world({.sequences = {{0, 20}}}, 1);
  ThreadPool threads(1);
  Workspace workspace;
  const std::vector<float> without = world.run(threads);
  const auto with = [&](float sink) {
    const std::vector<float> sinks(4, sink);
    AttentionParams params = world.params();
    params.sinks = sinks.data();
    TestMatrix y(world.tokens(), world.width());
    attention(world.q().tensor(), world.sequences(), world.cache(), params, y.tensor(), workspace,
              threads);
    return y.values();
  };
  EXPECT_THAT(with(-1e30f), is_close_to(without, tolerance::kElementwise));
  EXPECT_THAT(with(1e30f),
              is_close_to(std::vector<float>(without.size()), tolerance::kElementwise));
}

TEST(Attention, LongDecodeIsSharedByTheThreads) {
  for (DType dtype : kDTypes) {
    for (int past : {254, 255, 256, 257, 511, 1000, 2049}) {
      expect_equals_reference({.dtype = dtype, .sequences = {{past, 1}}}, 3);
      expect_equals_reference({.dtype = dtype, .alibi = true, .sequences = {{past, 4}}}, 4);
    }
  }
}

// Flash attention: pieces of rows, with windows and prefixes that end in any of them.
TEST(Attention, LongPrefill) {
  for (DType dtype : kDTypes) {
    for (int64_t flash_from : {int64_t{0}, AttentionRule::kNever}) {
      for (int window : {0, 700}) {
        expect_equals_reference({.num_heads = 4,
                                 .dtype = dtype,
                                 .sliding_window = window,
                                 .sinks = true,
                                 .flash_from = flash_from,
                                 .sequences = {{0, 301}, {1333, 50}, {1000, 40, 600}}},
                                5, 3);
      }
    }
  }
}

// The rule goes by what a block of rows sees.
TEST(Attention, TheRuleDoesNotChangeTheResult) {
  const AttentionCase slim{.num_heads = 8, .sequences = {{0, 900}}};
  AttentionCase flash = slim;
  flash.flash_from = 512;
  AttentionWorld a(slim, 3), b(flash, 3);
  ThreadPool threads(2);
  EXPECT_THAT(a.run(threads), is_close_to(b.run(threads), tolerance::kReduction));
}

TEST(Attention, DoesNotOverflowOnLargeScores) {
  AttentionCase c{.sequences = {{0, 40}, {40, 1}}};
  AttentionWorld world(c, 1);
  for (int64_t t = 0; t < world.tokens(); ++t) {
    for (float& value : world.q().row(t)) value *= 1e4f;
  }
  ThreadPool threads(2);
  // The scores are some ten thousand: their rounding decides between near ties, so only size is
  // seen.
  for (float value : world.run(threads)) ASSERT_LT(std::abs(value), 10.0f);
}

// Rows of q cut into two calls at every place: the later part finds the earlier one in the cache.
TEST(Attention, ChunkedPrefillEqualsTheWhole) {
  for (int window : {0, 20}) {
    AttentionWorld world({.sliding_window = window, .sequences = {{0, 70}}}, 7);
    ThreadPool threads(2);
    const std::vector<float> whole = world.run(threads);
    for (int cut = 1; cut < 70; ++cut) {
      std::vector<AttentionSequence> first = world.sequences(), second = first;
      first[0].query_length = cut;
      second[0].query_begin = cut;
      second[0].query_length = 70 - cut;
      second[0].past_length = cut;
      std::vector<float> actual = world.run(threads, first);
      const std::vector<float> rest = world.run(threads, second);
      const auto border = static_cast<std::ptrdiff_t>(cut * world.width());
      std::copy(rest.begin() + border, rest.end(), actual.begin() + border);
      ASSERT_THAT(actual, is_close_to(whole, tolerance::kReduction)) << "cut at " << cut;
    }
  }
}

TEST(Attention, TokenByTokenDecodeEqualsPrefill) {
  AttentionWorld world({.sequences = {{0, 300}}}, 8);
  ThreadPool threads(2);
  const std::vector<float> whole = world.run(threads);
  for (int t = 0; t < 300; t += 7) {
    std::vector<AttentionSequence> step = world.sequences();
    step[0].query_begin = t;
    step[0].query_length = 1;
    step[0].past_length = t;
    const std::vector<float> y = world.run(threads, step);
    const auto begin = static_cast<std::ptrdiff_t>(t * world.width());
    const std::vector<float> actual(y.begin() + begin, y.begin() + begin + world.width());
    const std::vector<float> expected(whole.begin() + begin, whole.begin() + begin + world.width());
    ASSERT_THAT(actual, is_close_to(expected, tolerance::kReduction)) << "token " << t;
  }
}

TEST(Attention, HasTheSameBitsForAnyNumberOfThreads) {
  for (DType dtype : kDTypes) {
    for (int64_t flash_from : {int64_t{0}, AttentionRule::kNever}) {
      AttentionWorld world({.num_heads = 6,
                            .dtype = dtype,
                            .sliding_window = 500,
                            .flash_from = flash_from,
                            .sequences = {{1200, 1}, {0, 90}, {530, 2}, {40, 33}, {900, 200}}},
                           9);
      ThreadPool one(1);
      const std::vector<float> expected = world.run(one);
      ASSERT_FALSE(expected.empty());
      for (int num_threads = 2; num_threads <= 4; ++num_threads) {
        ThreadPool threads(num_threads);
        for (int repeat = 0; repeat < 3; ++repeat) {
          EXPECT_EQ(world.run(threads), expected) << dtype_name(dtype) << " " << num_threads;
        }
      }
    }
  }
}

TEST(Attention, HasTheSameBitsAloneAndInABatch) {
  const AttentionCase all{.num_heads = 6, .sequences = {{1200, 1}, {0, 90}, {530, 2}, {40, 33}}};
  AttentionWorld batch(all, 10);
  ThreadPool threads(3);
  const std::vector<float> expected = batch.run(threads);
  auto row = expected.begin();
  for (const AttentionCase::Lengths& sequence : all.sequences) {
    AttentionCase single = all;
    single.sequences = {sequence};
    AttentionWorld alone(single, 10);
    const std::vector<float> actual = alone.run(threads);
    EXPECT_TRUE(std::equal(actual.begin(), actual.end(), row)) << sequence.past;
    row += static_cast<std::ptrdiff_t>(actual.size());
  }
}

TEST(Attention, AllocatesNothingOnceTheWorkspaceHasGrown) {
  AttentionWorld world({.sequences = {{1200, 1}, {0, 90}}}, 9);
  ThreadPool threads(2);
  world.run(threads);
  const size_t capacity = world.workspace().capacity();
  for (int i = 0; i < 20; ++i) world.run(threads);
  EXPECT_EQ(world.workspace().capacity(), capacity);
}

TEST(Attention, TakesNothingToDo) {
  AttentionWorld world({.sequences = {{5, 1}}}, 1);
  ThreadPool threads(2);
  const std::vector<float> nothing = world.run(threads, {});
  for (float value : nothing) EXPECT_EQ(value, TestMatrix::kGap);
  std::vector<AttentionSequence> empty = world.sequences();
  empty[0].query_length = 0;
  EXPECT_EQ(world.run(threads, empty), nothing);
  empty[0].past_length = 0;
  EXPECT_EQ(world.run(threads, empty), nothing);
}

TEST(Attention, RefusesWhatDoesNotMatch) {
  AttentionWorld world({.sequences = {{40, 3}}}, 1);
  ThreadPool threads(1);
  Workspace workspace;
  TestMatrix y(3, world.width()), few(2, world.width()), narrow(3, world.width() - 1);
  const auto call = [&](const AttentionSequence& sequence, const KvCacheView& cache,
                        const AttentionParams& params, TestMatrix& out) {
    attention(world.q().tensor(), std::span(&sequence, 1), cache, params, out.tensor(), workspace,
              threads);
  };
  const AttentionSequence good = world.sequences()[0];
  const KvCacheView cache = world.cache();
  const AttentionParams params = world.params();
  EXPECT_NO_THROW(call(good, cache, params, y));
  EXPECT_THROW(call(good, cache, params, few), Error);
  EXPECT_THROW(call(good, cache, params, narrow), Error);

  const auto with = [&](auto change) {
    AttentionSequence sequence = good;
    change(sequence);
    return sequence;
  };
  EXPECT_THROW(call(with([](auto& s) { s.query_begin = 1; }), cache, params, y), Error);
  EXPECT_THROW(call(with([](auto& s) { s.query_begin = -1; }), cache, params, y), Error);
  EXPECT_THROW(call(with([](auto& s) { s.query_length = -1; }), cache, params, y), Error);
  EXPECT_THROW(call(with([](auto& s) { s.query_begin = INT64_MAX; }), cache, params, y), Error);
  EXPECT_THROW(call(with([](auto& s) { s.past_length = -1; }), cache, params, y), Error);
  EXPECT_THROW(call(with([](auto& s) { s.past_length = INT32_MAX; }), cache, params, y), Error);
  EXPECT_THROW(call(with([](auto& s) { s.past_length = 62; }), cache, params, y), Error);
  EXPECT_THROW(call(with([](auto& s) { s.prefix_length = -1; }), cache, params, y), Error);
  EXPECT_THROW(call(with([](auto& s) { s.prefix_length = 44; }), cache, params, y), Error);
  for (int32_t bad : {-1, static_cast<int32_t>(cache.num_blocks)}) {
    const std::vector<int32_t> table = {0, bad};
    EXPECT_THROW(call(with([&](auto& s) { s.block_table = table; }), cache, params, y), Error);
  }
  AttentionParams wrong = params;
  wrong.num_heads = 3;
  EXPECT_THROW(call(good, cache, wrong, y), Error);
  wrong = params;
  wrong.sliding_window = -1;
  EXPECT_THROW(call(good, cache, wrong, y), Error);
  KvCacheView unsupported = cache;
  unsupported.layout.dtype = DType::kQ8_0;
  EXPECT_THROW(call(good, unsupported, params, y), Error);
  unsupported = cache;
  unsupported.layout.block_size = 24;
  EXPECT_THROW(call(good, unsupported, params, y), Error);
}

TEST(PlanAttention, ScratchIsBoundedByTheCacheAndGrowsLinearly) {
  constexpr int64_t kL2 = 1 << 20;
  for (int group : {1, 4, 7}) {
    for (int64_t length : {5, 100, 1000, 4096, 32768, 131072}) {
      const AttentionPlan plan =
          plan_attention({.query_length = length, .group = group, .max_rows = 12, .l2_bytes = kL2});
      EXPECT_EQ(plan.num_chunks, 1);
      EXPECT_EQ(plan.chunk_panels, (length + 15) / 16);
      EXPECT_EQ(plan.block_rows % 12, 0);
      const int64_t bytes = int64_t{plan.block_rows} * plan.chunk_panels * 16 * 4;
      EXPECT_LE(bytes, std::max<int64_t>(kL2 / 2, 12 * (length + 15) * 4)) << length;
      EXPECT_GE(int64_t{plan.num_blocks} * plan.block_rows, length * group);
    }
  }
}

TEST(PlanAttention, AWindowBoundsTheScratchWhateverTheLength) {
  const auto panels = [](int64_t past) {
    return plan_attention({.past_length = past,
                           .query_length = 512,
                           .sliding_window = 1024,
                           .max_rows = 12,
                           .l2_bytes = 1 << 20})
        .chunk_panels;
  };
  EXPECT_EQ(panels(100000), panels(10000));
  EXPECT_LT(panels(100000), 80);
}

TEST(PlanAttention, ChunksOfDecodeDependOnTheLengthAlone) {
  for (int64_t past : {0, 255, 256, 5000, 16383, 16384, 100000, 2000000}) {
    const AttentionPlanInput input{.past_length = past, .query_length = 1, .max_rows = 12};
    AttentionPlanInput other = input;
    other.max_block_rows = 1;
    other.l2_bytes = 1 << 30;
    other.max_rows = 6;
    const AttentionPlan plan = plan_attention(input);
    EXPECT_EQ(plan.chunk_panels, plan_attention(other).chunk_panels);
    EXPECT_EQ(plan.num_blocks, 1);
    EXPECT_LE(plan.chunk_panels, 16);
    EXPECT_GE(int64_t{plan.num_chunks} * plan.chunk_panels * 16, past + 1);
  }
}

}  // namespace
}  // namespace lanner
