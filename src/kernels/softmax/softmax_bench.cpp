// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include "base/testing/random.h"
#include "kernels/softmax/kernels.h"

namespace lanner {
namespace {

void run(benchmark::State& state, const SoftmaxKernel* kernel) {
  if (!cpu_isa().has(kernel->needs)) return state.SkipWithError("this CPU lacks the ISA");
  const int size = static_cast<int>(state.range(0));
  const std::vector<float> x = random_normal(size, 1);
  std::vector<float> y(x.size());
  for (auto _ : state) {
    kernel->row(x.data(), size, y.data());
    benchmark::DoNotOptimize(y.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * size * 2 * static_cast<int64_t>(sizeof(float)));
}

const int kRegistered = [] {
  for (const SoftmaxKernel* kernel : softmax_kernels()) {
    const std::string name = std::string("softmax/") + kernel->name;
    benchmark::RegisterBenchmark(name.c_str(), run, kernel)->Arg(1024)->Arg(32000);
  }
  return 0;
}();

}  // namespace
}  // namespace lanner
