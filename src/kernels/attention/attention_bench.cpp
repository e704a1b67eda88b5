// SPDX-License-Identifier: Apache-2.0
// The whole op. Prefill counts the multiply-adds that the causal mask lets through (GFLOP/s);
// decode the bytes of K and V that it has to read.
#include <numeric>

#include <benchmark/benchmark.h>

#include "base/buffer.h"
#include "base/testing/random.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/kernels.h"
#include "kernels/kv_store/kv_store.h"

namespace lanner {
namespace {

constexpr int kBlockSize = 32;

struct Setup {
  int num_heads, kv_heads, head_dim;
};

// `sequences` sequences, each with `past` tokens in the cache and `queries` new ones.
struct Fixture {
  Fixture(const Setup& setup, DType dtype, int num_sequences, int past, int queries,
          int num_threads)
      : threads(num_threads) {
    const int length = past + queries;
    const int blocks = (length + kBlockSize - 1) / kBlockSize;
    cache.layout = {dtype,          kBlockSize,     setup.kv_heads,
                    setup.head_dim, setup.head_dim, /*rotated=*/dtype == DType::kI8};
    cache.num_blocks = int64_t{blocks} * num_sequences;
    memory = Buffer(static_cast<size_t>(cache.num_blocks * cache.layout.block_bytes()));
    cache.data = memory.data();
    block_table.resize(static_cast<size_t>(cache.num_blocks));
    std::iota(block_table.begin(), block_table.end(), 0);
    const int width = setup.kv_heads * setup.head_dim;
    std::vector<float> kv = random_normal(int64_t{256} * width, 1);
    for (int64_t slot = 0; slot < cache.num_blocks * kBlockSize; slot += 256) {
      std::vector<int64_t> slots;
      for (int64_t i = slot; i < std::min(slot + 256, cache.num_blocks * kBlockSize); ++i) {
        slots.push_back(i);
      }
      const Tensor rows(kv.data(), DType::kF32, {static_cast<int64_t>(slots.size()), width});
      kv_store(rows, rows, slots, cache, threads);
    }
    const int64_t tokens = int64_t{num_sequences} * queries;
    q = random_normal(tokens * setup.num_heads * setup.head_dim, 2);
    y.resize(q.size());
    const Shape shape{tokens, int64_t{setup.num_heads} * setup.head_dim};
    q_tensor = Tensor(q.data(), DType::kF32, shape);
    y_tensor = Tensor(y.data(), DType::kF32, shape);
    for (int s = 0; s < num_sequences; ++s) {
      sequences.push_back({.query_begin = int64_t{s} * queries,
                           .query_length = queries,
                           .past_length = past,
                           .block_table = std::span<const int32_t>(block_table)
                                              .subspan(static_cast<size_t>(s * blocks),
                                                       static_cast<size_t>(blocks))});
    }
    params.num_heads = setup.num_heads;
    params.scale = 0.1f;
  }

  void run() { attention(q_tensor, sequences, cache, params, y_tensor, workspace, threads); }

  ThreadPool threads;
  Workspace workspace;
  KvCacheView cache;
  AttentionParams params;
  Buffer memory;
  std::vector<int32_t> block_table;
  std::vector<float> q, y;
  Tensor q_tensor, y_tensor;
  std::vector<AttentionSequence> sequences;
};

void prefill(benchmark::State& state, Setup setup, DType dtype, int length, int num_threads) {
  Fixture fixture(setup, dtype, 1, 0, length, num_threads);
  for (auto _ : state) fixture.run();
  const double flops = 2.0 * length * (length + 1) / 2 * setup.num_heads * 2 * setup.head_dim;
  state.counters["GFLOP/s"] = benchmark::Counter(
      flops * 1e-9 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
  state.counters["scratch_MB"] = static_cast<double>(fixture.workspace.capacity()) * 1e-6;
}

void decode(benchmark::State& state, Setup setup, DType dtype, int num_sequences, int depth,
            int num_threads) {
  Fixture fixture(setup, dtype, num_sequences, depth - 1, 1, num_threads);
  for (auto _ : state) fixture.run();
  const int64_t bytes = int64_t{num_sequences} * depth * setup.kv_heads * 2 * setup.head_dim *
                        fixture.cache.layout.element_bytes();
  state.SetBytesProcessed(state.iterations() * bytes);
}

std::string label(const Setup& setup, DType dtype) {
  return std::to_string(setup.num_heads) + "x" + std::to_string(setup.kv_heads) + "x" +
         std::to_string(setup.head_dim) + "/" + dtype_name(dtype);
}

const int kRegistered = [] {
  const Setup mha{32, 32, 128}, gqa{32, 8, 128}, small{9, 3, 64};
  for (int threads : {1, 2}) {
    const std::string suffix = "/threads:" + std::to_string(threads);
    for (const Setup& setup : {mha, gqa, small}) {
      for (DType dtype : {DType::kF32, DType::kF16, DType::kBf16}) {
        for (int length : {128, 1024}) {
          const std::string name =
              "prefill/" + label(setup, dtype) + "/tokens:" + std::to_string(length) + suffix;
          benchmark::RegisterBenchmark(name.c_str(), prefill, setup, dtype, length, threads)
              ->UseRealTime()
              ->Unit(benchmark::kMillisecond);
        }
      }
      for (DType dtype : {DType::kF32, DType::kF16, DType::kBf16, DType::kI8}) {
        for (int depth : {256, 4096}) {
          const std::string name =
              "decode/" + label(setup, dtype) + "/depth:" + std::to_string(depth) + suffix;
          benchmark::RegisterBenchmark(name.c_str(), decode, setup, dtype, 1, depth, threads)
              ->UseRealTime()
              ->Unit(benchmark::kMicrosecond);
        }
      }
    }
  }
  benchmark::RegisterBenchmark("prefill/32x32x128/fp16/tokens:8192/threads:2", prefill, mha,
                               DType::kF16, 8192, 2)
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
  return 0;
}();

}  // namespace
}  // namespace lanner
