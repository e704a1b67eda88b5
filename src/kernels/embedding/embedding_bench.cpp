// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include "base/buffer.h"
#include "kernels/embedding/embedding.h"

namespace lanner {
namespace {

// 64 tokens of 4096, one thread.
void run(benchmark::State& state, DType dtype) {
  constexpr int64_t kVocab = 1000, kHidden = 4096, kTokens = 64;
  Buffer memory(static_cast<size_t>(dtype_bytes(dtype, kVocab * kHidden)));
  Buffer output(kTokens * kHidden * sizeof(float));
  const Tensor table(memory.data(), dtype, {kVocab, kHidden});
  const Tensor y(output.data(), DType::kF32, {kTokens, kHidden});
  std::vector<int32_t> ids;
  for (int i = 0; i < kTokens; ++i) ids.push_back(i * 617 % kVocab);
  ThreadPool threads(1);
  for (auto _ : state) embedding(table, ids, y, threads);
  state.SetItemsProcessed(state.iterations() * kTokens * kHidden);
}

const int kRegistered = [] {
  for (DType dtype : {DType::kF32, DType::kBf16, DType::kQ4_1, DType::kQ6K}) {
    const std::string name = std::string("embedding/") + dtype_name(dtype);
    benchmark::RegisterBenchmark(name.c_str(), run, dtype);
  }
  return 0;
}();

}  // namespace
}  // namespace lanner
