// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include "base/testing/random.h"
#include "kernels/rope/kernels.h"

namespace lanner {
namespace {

void run(benchmark::State& state, const RopeKernel* kernel, RopeStyle style) {
  if (!cpu_isa().has(kernel->needs)) return state.SkipWithError("this CPU lacks the ISA");
  const int head_dim = static_cast<int>(state.range(0));
  std::vector<float> x = random_normal(head_dim, 1);
  // A turn by about zero keeps the values from growing over the iterations.
  const std::vector<float> cos(x.size() / 2, 1.0f), sin(x.size() / 2, 0.0f);
  const RopeFn function = kernel->head[static_cast<size_t>(style)];
  for (auto _ : state) {
    function(x.data(), cos.data(), sin.data(), head_dim / 2);
    benchmark::DoNotOptimize(x.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * head_dim);
}

const int kRegistered = [] {
  for (const RopeKernel* kernel : rope_kernels()) {
    const std::string prefix = std::string("rope/") + kernel->name;
    benchmark::RegisterBenchmark((prefix + "/halves").c_str(), run, kernel, RopeStyle::kHalves)
        ->Arg(64)
        ->Arg(128);
    benchmark::RegisterBenchmark((prefix + "/pairs").c_str(), run, kernel, RopeStyle::kPairs)
        ->Arg(64)
        ->Arg(128);
  }
  return 0;
}();

}  // namespace
}  // namespace lanner
