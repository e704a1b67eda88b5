// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include "base/testing/random.h"
#include "sampling/sampler.h"

namespace lanner {
namespace {

constexpr int64_t kVocabSize = 151936;  // Qwen2's

// One row on one thread.
void sample_one(benchmark::State& state, double temperature, int top_k, double top_p,
                double min_p) {
  SamplingParams params;
  params.temperature = temperature;
  params.top_k = top_k;
  params.top_p = top_p;
  params.min_p = min_p;
  std::vector<float> logits = random_normal(kVocabSize, /*seed=*/1, /*deviation=*/3.0f);
  const Tensor tensor(logits.data(), DType::kF32, {1, kVocabSize});
  ThreadPool threads(1);
  Sampler sampler;
  SamplingRow row{.params = &params, .seed = 1};
  const int32_t first_row = 0;
  for (auto _ : state) {
    ++row.step;
    benchmark::DoNotOptimize(sampler.sample(tensor, {&row, 1}, {&first_row, 1}, threads));
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * tensor.bytes());
}

BENCHMARK_CAPTURE(sample_one, greedy, 0.0, 0, 1.0, 0.0);
BENCHMARK_CAPTURE(sample_one, temperature, 0.8, 0, 1.0, 0.0);
BENCHMARK_CAPTURE(sample_one, top_k_50, 0.8, 50, 1.0, 0.0);
BENCHMARK_CAPTURE(sample_one, top_p_90, 0.8, 0, 0.9, 0.0);
BENCHMARK_CAPTURE(sample_one, top_p_90_flat, 100.0, 0, 0.9, 0.0);
BENCHMARK_CAPTURE(sample_one, top_k_50_top_p_90, 0.8, 50, 0.9, 0.0);
BENCHMARK_CAPTURE(sample_one, min_p_05, 0.8, 0, 1.0, 0.05);

}  // namespace
}  // namespace lanner
